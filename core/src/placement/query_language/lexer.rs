//! Text to tokens, with the column of each. Knows no grammar, except that a pattern is read as a whole, since its
//! characters would mean something else anywhere else. Pure.

/// A token and where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// 1 for the first character.
    pub(super) column: usize,
}

/// What a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Letters, digits and what names and values are made of.
    Word(String),
    /// Text in quotes.
    Quoted(String),
    /// An operator or a bracket, as written.
    Symbol(&'static str),
    /// Quotes that are never closed.
    UnclosedQuote,
    /// A character that begins no token.
    Stray(char),
    /// Nothing is left.
    End,
}

impl TokenKind {
    /// How an error names it.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Word(text) | Self::Quoted(text) => format!("'{text}'"),
            Self::Symbol(text) => format!("'{text}'"),
            Self::UnclosedQuote => "a quote that is not closed".to_owned(),
            Self::Stray(c) => format!("'{c}'"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Symbols, the longer before those that they begin with.
const SYMBOLS: [&str; 18] = [
    "&&", "||", "==", "!=", "=~", "!~", ">=", "<=", "!exists", "!in", ">", "<", "!", "(", ")", "[", "]", ",",
];

pub(super) struct Lexer {
    chars: Vec<char>,
    at: usize,
}

impl Lexer {
    pub(super) fn new(text: &str) -> Self {
        Self {
            chars: text.chars().collect(),
            at: 0,
        }
    }

    /// The next token.
    pub(super) fn token(&mut self) -> Token {
        self.skip_space();
        let column = self.at + 1;
        let kind = self.token_kind();
        Token { kind, column }
    }

    /// The next pattern: in quotes, or up to a space, `&&`, `||` or a closing parenthesis that it did not open itself.
    pub(super) fn pattern(&mut self) -> Token {
        self.skip_space();
        let column = self.at + 1;
        let kind = match self.peek(0) {
            None => TokenKind::End,
            Some('\'' | '"') => self.quoted(),
            Some(_) => self.bare_pattern(),
        };
        Token { kind, column }
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn skip_space(&mut self) {
        while self.peek(0).is_some_and(char::is_whitespace) {
            self.at += 1;
        }
    }

    fn token_kind(&mut self) -> TokenKind {
        let Some(first) = self.peek(0) else {
            return TokenKind::End;
        };
        if matches!(first, '\'' | '"') {
            return self.quoted();
        }
        if let Some(symbol) = SYMBOLS.into_iter().find(|s| self.begins_with(s)) {
            self.at += symbol.len();
            return TokenKind::Symbol(symbol);
        }
        let begin = self.at;
        while self.peek(0).is_some_and(is_word) {
            self.at += 1;
        }
        if self.at == begin {
            self.at += 1;
            return TokenKind::Stray(first);
        }
        TokenKind::Word(self.chars[begin..self.at].iter().collect())
    }

    /// Whether `symbol` is next; one that ends in a letter must not run on into a word.
    fn begins_with(&self, symbol: &str) -> bool {
        let here = symbol.chars().enumerate().all(|(i, c)| self.peek(i) == Some(c));
        let wordy = symbol.ends_with(char::is_alphabetic);
        here && !(wordy && self.peek(symbol.len()).is_some_and(is_word))
    }

    /// Text in quotes; a backslash before the same quote makes it part of the text, any other backslash is one.
    fn quoted(&mut self) -> TokenKind {
        let quote = self.peek(0);
        self.at += 1;
        let mut text = String::new();
        while let Some(c) = self.peek(0) {
            self.at += 1;
            if Some(c) == quote {
                return TokenKind::Quoted(text);
            }
            if c == '\\' && self.peek(0) == quote {
                self.at += 1;
                text.extend(quote);
            } else {
                text.push(c);
            }
        }
        TokenKind::UnclosedQuote
    }

    fn bare_pattern(&mut self) -> TokenKind {
        let begin = self.at;
        let mut open: usize = 0;
        while let Some(c) = self.peek(0) {
            let ends = c.is_whitespace() || c == ')' || self.begins_with("&&") || self.begins_with("||");
            if open == 0 && ends {
                break;
            }
            match c {
                '\\' => self.at += usize::from(self.peek(1).is_some()),
                '(' | '[' => open += 1,
                ')' | ']' => open = open.saturating_sub(1),
                _ => {}
            }
            self.at += 1;
        }
        match self.at == begin {
            true => self.token_kind(),
            false => TokenKind::Word(self.chars[begin..self.at].iter().collect()),
        }
    }
}

fn is_word(c: char) -> bool {
    !c.is_whitespace()
        && !matches!(
            c,
            '(' | ')' | '[' | ']' | ',' | '\'' | '"' | '=' | '!' | '<' | '>' | '&' | '|'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<TokenKind> {
        let mut lexer = Lexer::new(text);
        std::iter::from_fn(|| Some(lexer.token().kind).filter(|k| *k != TokenKind::End)).collect()
    }

    fn word(text: &str) -> TokenKind {
        TokenKind::Word(text.to_owned())
    }

    #[test]
    fn tokens_without_spaces_between_them_are_told_apart() {
        let expected = vec![word("attribute:ecs.os-type"), TokenKind::Symbol("=="), word("linux")];
        assert_eq!(kinds("attribute:ecs.os-type==linux"), expected);
        let expected = vec![
            TokenKind::Symbol("!"),
            TokenKind::Symbol("("),
            word("a"),
            TokenKind::Symbol(")"),
        ];
        assert_eq!(kinds("!(a)"), expected);
    }

    #[test]
    fn exclamation_mark_before_a_word_that_begins_with_in_negates() {
        assert_eq!(kinds("a !in b")[1], TokenKind::Symbol("!in"));
        assert_eq!(kinds("!instance"), vec![TokenKind::Symbol("!"), word("instance")]);
    }

    #[test]
    fn quoted_text_keeps_spaces_and_backslashes() {
        assert_eq!(kinds(r"'a \d it\'s'"), vec![TokenKind::Quoted(r"a \d it's".to_owned())]);
        assert_eq!(kinds("'open"), vec![TokenKind::UnclosedQuote]);
    }

    #[test]
    fn pattern_ends_at_the_parenthesis_that_it_did_not_open() {
        let mut lexer = Lexer::new(r"(t2|m5)\.[a-z )]+) and");
        assert_eq!(lexer.pattern().kind, word(r"(t2|m5)\.[a-z )]+"));
        assert_eq!(lexer.token().kind, TokenKind::Symbol(")"));
    }
}
