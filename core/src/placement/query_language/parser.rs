//! Tokens to an [`Expression`], by recursive descent; errors point at a column. Pure.

use std::str::FromStr;

use super::ast::{Comparison, Condition, Expression, Literal, Pattern, Subject, Test, Version};
use super::lexer::{Lexer, Token, TokenKind};
use super::moment;

/// Longest expression, in characters (ECS's limit on a placement constraint).
pub const MAX_EXPRESSION_CHARS: usize = 2000;

/// Deepest nesting of parentheses and `not`: no sensible expression comes near it, and it bounds the stack.
const MAX_DEPTH: usize = 50;

/// Why text is no expression, in the form that the API shows to its callers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Something else had to come next.
    #[error("Invalid expression: expected {expected} but found {found} at column {column}")]
    Unexpected {
        /// What could have come.
        expected: String,
        /// What came.
        found: String,
        /// Where, 1 for the first character.
        column: usize,
    },
    /// A pattern does not compile.
    #[error("Invalid expression: expected a regular expression at column {column}: {problem}")]
    Pattern {
        /// What is wrong with it.
        problem: String,
        /// Where it begins.
        column: usize,
    },
    /// Parentheses within parentheses, too often.
    #[error("Invalid expression: expected at most {MAX_DEPTH} levels of parentheses and not at column {column}")]
    TooDeep {
        /// Where the first level too many begins.
        column: usize,
    },
    /// Too long.
    #[error("Invalid expression: expected at most {MAX_EXPRESSION_CHARS} characters but found {chars}")]
    TooLong {
        /// Its length in characters.
        chars: usize,
    },
}

impl FromStr for Expression {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let chars = text.chars().count();
        if chars > MAX_EXPRESSION_CHARS {
            return Err(ParseError::TooLong { chars });
        }
        let mut parser = Parser {
            lexer: Lexer::new(text),
            ahead: None,
        };
        let expression = parser.any(0)?;
        let rest = parser.next();
        match rest.kind {
            TokenKind::End => Ok(expression),
            _ => Err(unexpected("'and', 'or' or the end", rest)),
        }
    }
}

struct Parser {
    lexer: Lexer,
    /// A token that was looked at and not taken.
    ahead: Option<Token>,
}

impl Parser {
    fn next(&mut self) -> Token {
        self.ahead.take().unwrap_or_else(|| self.lexer.token())
    }

    fn peek(&mut self) -> &Token {
        let lexer = &mut self.lexer;
        self.ahead.get_or_insert_with(|| lexer.token())
    }

    /// Takes the next token if it is one of these words or symbols.
    fn take(&mut self, spellings: [&str; 2]) -> Option<Token> {
        let hit = match &self.peek().kind {
            TokenKind::Word(word) => spellings.contains(&word.as_str()),
            TokenKind::Symbol(symbol) => spellings.contains(symbol),
            _ => false,
        };
        if hit { self.ahead.take() } else { None }
    }

    fn any(&mut self, depth: usize) -> Result<Expression, ParseError> {
        let mut parts = vec![self.all(depth)?];
        while self.take(["or", "||"]).is_some() {
            parts.push(self.all(depth)?);
        }
        Ok(single_or(parts, Expression::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expression, ParseError> {
        let mut parts = vec![self.unary(depth)?];
        while self.take(["and", "&&"]).is_some() {
            parts.push(self.unary(depth)?);
        }
        Ok(single_or(parts, Expression::All))
    }

    fn unary(&mut self, depth: usize) -> Result<Expression, ParseError> {
        let column = self.peek().column;
        if depth > MAX_DEPTH {
            return Err(ParseError::TooDeep { column });
        }
        if self.take(["not", "!"]).is_some() {
            return Ok(Expression::Not(Box::new(self.unary(depth + 1)?)));
        }
        if self.take(["(", "("]).is_some() {
            let inner = self.any(depth + 1)?;
            return match self.take([")", ")"]) {
                Some(_) => Ok(inner),
                None => Err(unexpected("'and', 'or' or ')'", self.next())),
            };
        }
        self.condition().map(Expression::Condition)
    }

    fn condition(&mut self) -> Result<Condition, ParseError> {
        let token = self.next();
        let subject = subject_of(&token).ok_or_else(|| {
            unexpected(
                "a subject (agentConnected, agentVersion, attribute:NAME, ec2InstanceId, registeredAt, \
                 runningTasksCount or task:group)",
                token.clone(),
            )
        })?;
        let token = self.next();
        let operator = Operator::of(&token.kind)
            .filter(|o| o.suits(&subject))
            .ok_or_else(|| unexpected(operators_of(&subject), token))?;
        let test = match operator.kind {
            OperatorKind::Exists => Test::Exists,
            OperatorKind::Equals => Test::Equals(self.literal(&subject)?),
            OperatorKind::In => Test::In(self.list(&subject)?),
            OperatorKind::Matches => Test::Matches(self.pattern()?),
            OperatorKind::Compares(comparison) => Test::Compares(comparison, self.literal(&subject)?),
        };
        Ok(Condition {
            subject,
            test,
            negated: operator.negated,
        })
    }

    fn literal(&mut self, subject: &Subject) -> Result<Literal, ParseError> {
        let token = self.next();
        let (TokenKind::Word(text) | TokenKind::Quoted(text)) = &token.kind else {
            return Err(unexpected("a value", token));
        };
        let (literal, expected) = match subject {
            Subject::RunningTasksCount => (text.parse().ok().map(Literal::Number), "a whole number"),
            Subject::RegisteredAt => (
                moment::parse(text).map(Literal::Moment),
                "a date such as 2018-06-18 or 2018-06-18T22:28:28Z",
            ),
            Subject::AgentVersion => (Version::parse(text).map(Literal::Version), "a version such as 1.14.0"),
            Subject::AgentConnected => (
                matches!(text.as_str(), "true" | "false").then(|| Literal::Text(text.clone())),
                "true or false",
            ),
            _ => (Some(Literal::Text(text.clone())), "a value"),
        };
        literal.ok_or_else(|| unexpected(expected, token))
    }

    fn list(&mut self, subject: &Subject) -> Result<Vec<Literal>, ParseError> {
        if self.take(["[", "["]).is_none() {
            return Err(unexpected("'['", self.next()));
        }
        let mut values = vec![self.literal(subject)?];
        loop {
            let token = self.next();
            match token.kind {
                TokenKind::Symbol(",") => values.push(self.literal(subject)?),
                TokenKind::Symbol("]") => return Ok(values),
                _ => return Err(unexpected("',' or ']'", token)),
            }
        }
    }

    fn pattern(&mut self) -> Result<Pattern, ParseError> {
        debug_assert!(
            self.ahead.is_none(),
            "the operator was taken, and nothing looked at since"
        );
        let token = self.lexer.pattern();
        let (TokenKind::Word(source) | TokenKind::Quoted(source)) = &token.kind else {
            return Err(unexpected("a regular expression", token));
        };
        Pattern::new(source).map_err(|problem| ParseError::Pattern {
            problem,
            column: token.column,
        })
    }
}

fn single_or(mut parts: Vec<Expression>, join: fn(Vec<Expression>) -> Expression) -> Expression {
    match parts.len() {
        1 => parts.swap_remove(0),
        _ => join(parts),
    }
}

fn unexpected(expected: impl Into<String>, token: Token) -> ParseError {
    ParseError::Unexpected {
        expected: expected.into(),
        found: token.kind.describe(),
        column: token.column,
    }
}

fn subject_of(token: &Token) -> Option<Subject> {
    let TokenKind::Word(word) = &token.kind else {
        return None;
    };
    match word.as_str() {
        "agentConnected" => Some(Subject::AgentConnected),
        "agentVersion" => Some(Subject::AgentVersion),
        "ec2InstanceId" => Some(Subject::Ec2InstanceId),
        "registeredAt" => Some(Subject::RegisteredAt),
        "runningTasksCount" => Some(Subject::RunningTasksCount),
        "task:group" => Some(Subject::TaskGroup),
        _ => word
            .strip_prefix("attribute:")
            .filter(|name| !name.is_empty())
            .map(|name| Subject::Attribute(name.to_owned())),
    }
}

struct Operator {
    kind: OperatorKind,
    negated: bool,
}

enum OperatorKind {
    Exists,
    Equals,
    In,
    Matches,
    Compares(Comparison),
}

impl Operator {
    fn of(token: &TokenKind) -> Option<Self> {
        let spelling = match token {
            TokenKind::Word(word) => word.as_str(),
            TokenKind::Symbol(symbol) => symbol,
            _ => return None,
        };
        let (kind, negated) = match spelling {
            "==" | "equals" => (OperatorKind::Equals, false),
            "!=" | "not_equals" => (OperatorKind::Equals, true),
            "in" => (OperatorKind::In, false),
            "!in" | "not_in" => (OperatorKind::In, true),
            "=~" | "matches" => (OperatorKind::Matches, false),
            "!~" | "not_matches" => (OperatorKind::Matches, true),
            "exists" => (OperatorKind::Exists, false),
            "!exists" | "not_exists" => (OperatorKind::Exists, true),
            ">" | "greater_than" => (OperatorKind::Compares(Comparison::Greater), false),
            ">=" | "greater_than_equal" => (OperatorKind::Compares(Comparison::GreaterOrEqual), false),
            "<" | "less_than" => (OperatorKind::Compares(Comparison::Less), false),
            "<=" | "less_than_equal" => (OperatorKind::Compares(Comparison::LessOrEqual), false),
            _ => return None,
        };
        Some(Self { kind, negated })
    }

    /// Whether ECS lets the operator stand after the subject.
    fn suits(&self, subject: &Subject) -> bool {
        match subject {
            Subject::Attribute(_) => true,
            Subject::AgentConnected | Subject::Ec2InstanceId | Subject::TaskGroup => {
                matches!(
                    self.kind,
                    OperatorKind::Equals | OperatorKind::In | OperatorKind::Matches
                )
            }
            Subject::AgentVersion | Subject::RegisteredAt | Subject::RunningTasksCount => {
                matches!(self.kind, OperatorKind::Equals | OperatorKind::Compares(_))
            }
        }
    }
}

fn operators_of(subject: &Subject) -> &'static str {
    match subject {
        Subject::Attribute(_) => "an operator (==, !=, >, >=, <, <=, in, !in, =~, !~, exists or !exists)",
        Subject::AgentConnected | Subject::Ec2InstanceId | Subject::TaskGroup => {
            "an operator for this subject (==, !=, in, !in, =~ or !~)"
        }
        Subject::AgentVersion | Subject::RegisteredAt | Subject::RunningTasksCount => {
            "an operator for this subject (==, !=, >, >=, < or <=)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        text.parse::<Expression>().expect_err(text).to_string()
    }

    #[test]
    fn expression_with_a_mistake_points_at_its_column() {
        for (text, expected) in [
            (
                "",
                "expected a subject (agentConnected, agentVersion, attribute:NAME, ec2InstanceId, registeredAt, runningTasksCount or task:group) but found the end at column 1",
            ),
            (
                "attribute:x = 1",
                "expected an operator (==, !=, >, >=, <, <=, in, !in, =~, !~, exists or !exists) but found '=' at column 13",
            ),
            ("attribute:zone ==", "expected a value but found the end at column 18"),
            (
                "attribute:zone == a b",
                "expected 'and', 'or' or the end but found 'b' at column 21",
            ),
            (
                "(attribute:zone == a",
                "expected 'and', 'or' or ')' but found the end at column 21",
            ),
            ("attribute:zone in a", "expected '[' but found 'a' at column 19"),
            (
                "attribute:zone in [a b]",
                "expected ',' or ']' but found 'b' at column 22",
            ),
            (
                "attribute:zone == 'a",
                "expected a value but found a quote that is not closed at column 19",
            ),
            (
                "runningTasksCount > few",
                "expected a whole number but found 'few' at column 21",
            ),
            (
                "runningTasksCount =~ 1",
                "expected an operator for this subject (==, !=, >, >=, < or <=) but found '=~' at column 19",
            ),
            (
                "agentConnected == yes",
                "expected true or false but found 'yes' at column 19",
            ),
            (
                "registeredAt < soon",
                "expected a date such as 2018-06-18 or 2018-06-18T22:28:28Z but found 'soon' at column 16",
            ),
        ] {
            assert_eq!(message(text), format!("Invalid expression: {expected}"), "{text}");
        }
    }

    #[test]
    fn expression_with_a_bad_pattern_says_what_is_wrong_with_it() {
        let message = message("attribute:type =~ t2.(");
        assert!(
            message.starts_with("Invalid expression: expected a regular expression at column 19: "),
            "{message}"
        );
    }

    #[test]
    fn expression_beyond_the_limits_is_refused() {
        let long = format!("attribute:x == {}", "a".repeat(MAX_EXPRESSION_CHARS));
        assert!(message(&long).contains("at most 2000 characters"), "{long}");
        for opening in ["(", "!", "not "] {
            let deep = format!("{}attribute:x exists", opening.repeat(400));
            assert!(message(&deep).contains("levels of parentheses"), "{deep}");
        }
    }

    #[test]
    fn and_binds_more_than_or() {
        let with = |text: &str| text.parse::<Expression>().expect(text);
        let (a, b, c) = ("attribute:a exists", "attribute:b exists", "attribute:c exists");
        assert_eq!(
            with(&format!("{a} or {b} and {c}")),
            with(&format!("{a} || ({b} && {c})"))
        );
        assert_ne!(
            with(&format!("{a} or {b} and {c}")),
            with(&format!("({a} or {b}) and {c}"))
        );
    }

    #[test]
    fn operator_by_its_name_means_the_same_as_its_sign() {
        for (name, sign) in [
            ("equals", "=="),
            ("not_equals", "!="),
            ("greater_than", ">"),
            ("greater_than_equal", ">="),
            ("less_than", "<"),
            ("less_than_equal", "<="),
            ("matches", "=~"),
            ("not_matches", "!~"),
        ] {
            let named: Expression = format!("attribute:a {name} 1").parse().expect(name);
            assert_eq!(named, format!("attribute:a {sign} 1").parse().expect(sign));
        }
        let named: Expression = "attribute:a not_in [1]".parse().expect("parses");
        assert_eq!(named, "attribute:a !in [1]".parse().expect("parses"));
        let named: Expression = "attribute:a not_exists".parse().expect("parses");
        assert_eq!(named, "attribute:a !exists".parse().expect("parses"));
    }
}
