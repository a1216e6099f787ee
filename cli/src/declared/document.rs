//! YAML, and JSON, which is YAML, as a tree that knows the line of everything in it.
//!
//! Owns how text becomes that tree: several documents, anchors, and the merge key `<<` that Compose files use. What a scalar means
//! is for those who know what is expected of it. Pure.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};

/// Nodes of one text, those that anchors repeat counted each time: a file that a person wrote has far fewer.
const MAX_NODES: usize = 200_000;
/// Lists and structures within each other.
const MAX_DEPTH: usize = 64;
/// The key of the structures whose members are added to those that are written out.
const MERGE: &str = "<<";

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// The line, counted from 1.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) content: Content,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Content {
    /// A text, number, or truth value as it is written; `plain` if without quotes.
    Scalar {
        /// Without quotes and escapes.
        text: String,
        /// Whether it could be something else than a text.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A structure or map, in the order of the text.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    /// The key.
    pub(crate) text: String,
    /// Its line.
    pub(crate) line: usize,
}

/// Why a text cannot be read, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable {
    /// The line.
    pub(crate) line: usize,
    /// The reason.
    pub(crate) reason: String,
}

impl Node {
    /// A text.
    pub(crate) fn text(line: usize, text: impl Into<String>) -> Self {
        let content = Content::Scalar {
            text: text.into(),
            plain: false,
        };
        Self { line, content }
    }

    /// What could be a number or a truth value as well.
    pub(crate) fn plain(line: usize, text: impl ToString) -> Self {
        let content = Content::Scalar {
            text: text.to_string(),
            plain: true,
        };
        Self { line, content }
    }

    /// A list.
    pub(crate) fn list(line: usize, elements: Vec<Self>) -> Self {
        let content = Content::List(elements);
        Self { line, content }
    }

    /// A structure; each key stands where its value does.
    pub(crate) fn map<'k>(line: usize, members: impl IntoIterator<Item = (&'k str, Self)>) -> Self {
        let key = |text: &str, line| Key {
            text: text.to_owned(),
            line,
        };
        let members = members.into_iter();
        let content = Content::Map(members.map(|(name, node)| (key(name, node.line), node)).collect());
        Self { line, content }
    }

    /// Whether nothing stands there.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.content, Content::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The text of a scalar, whatever it means.
    pub(crate) fn scalar(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar { text, .. } if !self.is_null() => Some(text),
            _ => None,
        }
    }

    /// The value of a key of a map.
    pub(crate) fn get(&self, name: &str) -> Option<&Self> {
        let members = match &self.content {
            Content::Map(members) => members,
            _ => return None,
        };
        members.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
    }

    /// The line of what a path such as `containerDefinitions[0].memory` leads to, or of the last that is there; `None` if not even its
    /// first member is.
    pub(crate) fn line_of(&self, path: &str) -> Option<usize> {
        let (mut at, mut line) = (self, None);
        for step in path.split(['.', '[']) {
            let step = step.trim_end_matches(']');
            let next = match &at.content {
                Content::Map(members) => members
                    .iter()
                    .find(|(key, _)| key.text == step)
                    .map(|(key, node)| (key.line, node)),
                Content::List(elements) => step
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| elements.get(index))
                    .map(|node| (node.line, node)),
                Content::Scalar { .. } => None,
            };
            let Some((found, node)) = next else { break };
            (at, line) = (node, Some(found));
        }
        line
    }

    /// What it is, for messages.
    pub(crate) fn what(&self) -> &'static str {
        match &self.content {
            Content::Scalar { .. } if self.is_null() => "nothing",
            Content::Scalar { plain: false, .. } => "a text in quotes",
            Content::Scalar { text, .. } if text.parse::<f64>().is_ok() => "a number",
            Content::Scalar { text, .. } if truth(text).is_some() => "true or false",
            Content::Scalar { .. } => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a structure",
        }
    }
}

/// What YAML's core schema takes for true or false.
pub(crate) fn truth(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// The documents of a text; empty ones are left out.
///
/// # Errors
/// What is wrong with the text, and where.
pub(crate) fn read(text: &str) -> Result<Vec<Node>, Unreadable> {
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Unreadable {
            line: error.marker().line(),
            reason: error.info().to_owned(),
        })?;
        builder.take(event, span)?;
    }
    Ok(builder.documents)
}

/// What has been read so far.
#[derive(Default)]
struct Builder {
    documents: Vec<Node>,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

/// A list or map whose end has not come.
struct Open {
    line: usize,
    anchor: usize,
    /// Number of nodes when it began.
    began: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map(Vec<(Key, Node)>, Option<Key>),
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Unreadable> {
        let line = span.start.line();
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let is_text = check_tag(line, tag.as_deref())?;
                let content = Content::Scalar {
                    text: text.into_owned(),
                    plain: style == ScalarStyle::Plain && !is_text,
                };
                self.count(line, 1)?;
                self.remember(
                    anchor,
                    &Node {
                        line,
                        content: content.clone(),
                    },
                    1,
                );
                self.put(Node { line, content })
            }
            Event::SequenceStart(anchor, tag) => self.begin(line, anchor, tag.as_deref(), Kind::List(vec![])),
            Event::MappingStart(anchor, tag) => self.begin(line, anchor, tag.as_deref(), Kind::Map(vec![], None)),
            Event::SequenceEnd | Event::MappingEnd => self.end(line),
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor);
                let (node, size) = known
                    .ok_or_else(|| unreadable(line, "an alias within its own anchor"))?
                    .clone();
                self.count(line, size)?;
                self.put(Node { line, ..node })
            }
            Event::DocumentStart(_) => {
                self.anchors.clear();
                Ok(())
            }
            Event::DocumentEnd | Event::StreamStart | Event::StreamEnd | Event::Nothing => Ok(()),
        }
    }

    fn begin(&mut self, line: usize, anchor: usize, tag: Option<&Tag>, kind: Kind) -> Result<(), Unreadable> {
        check_tag(line, tag)?;
        let began = self.nodes;
        self.count(line, 1)?;
        if self.open.len() >= MAX_DEPTH {
            return Err(unreadable(line, "lists and structures are nested too deeply"));
        }
        self.open.push(Open {
            line,
            anchor,
            began,
            kind,
        });
        Ok(())
    }

    fn end(&mut self, line: usize) -> Result<(), Unreadable> {
        let Some(open) = self.open.pop() else {
            return Err(unreadable(line, "something ends that did not begin"));
        };
        let content = match open.kind {
            Kind::List(elements) => Content::List(elements),
            Kind::Map(members, _) => Content::Map(merged(members)?),
        };
        let node = Node {
            line: open.line,
            content,
        };
        let size = self.nodes - open.began;
        self.remember(open.anchor, &node, size);
        self.put(node)
    }

    /// Puts a whole node where it belongs.
    fn put(&mut self, node: Node) -> Result<(), Unreadable> {
        match self.open.last_mut().map(|open| &mut open.kind) {
            None if node.is_null() => {}
            None => self.documents.push(node),
            Some(Kind::List(elements)) => elements.push(node),
            Some(Kind::Map(members, key)) => match key.take() {
                Some(key) => members.push((key, node)),
                None => *key = Some(key_of(node, members)?),
            },
        }
        Ok(())
    }

    /// Keeps what an anchor names; the parser numbers anchors from 1.
    fn remember(&mut self, anchor: usize, node: &Node, size: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
    }

    fn count(&mut self, line: usize, more: usize) -> Result<(), Unreadable> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(unreadable(line, "the text has too many values"));
        }
        Ok(())
    }
}

fn key_of(node: Node, members: &[(Key, Node)]) -> Result<Key, Unreadable> {
    let Content::Scalar { text, .. } = node.content else {
        return Err(unreadable(node.line, "a key must be a text"));
    };
    let is_known = |(key, _): &&(Key, Node)| key.text == text && text != MERGE;
    if let Some((first, _)) = members.iter().find(is_known) {
        return Err(unreadable(
            node.line,
            format!("{text} is given twice, first in line {}", first.line),
        ));
    }
    Ok(Key { text, line: node.line })
}

/// The members, with those that `<<` names where they are not written out.
fn merged(members: Vec<(Key, Node)>) -> Result<Vec<(Key, Node)>, Unreadable> {
    if !members.iter().any(|(key, _)| key.text == MERGE) {
        return Ok(members);
    }
    let (merges, mut members): (Vec<_>, Vec<_>) = members.into_iter().partition(|(key, _)| key.text == MERGE);
    for (key, node) in merges {
        let sources = match node.content {
            Content::List(elements) => elements,
            _ => vec![node],
        };
        for source in sources {
            let Content::Map(more) = source.content else {
                return Err(unreadable(key.line, "<< takes a structure or a list of structures"));
            };
            let is_new = |name: &str, members: &[(Key, Node)]| !members.iter().any(|(key, _)| key.text == name);
            for (name, value) in more {
                if is_new(&name.text, &members) {
                    members.push((name, value));
                }
            }
        }
    }
    Ok(members)
}

/// Whether the tag makes a scalar a text. Tags beyond YAML's own mean something to other programs.
fn check_tag(line: usize, tag: Option<&Tag>) -> Result<bool, Unreadable> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema() => Ok(tag.suffix == "str"),
        Some(tag) => Err(unreadable(line, format!("the tag {tag} means nothing here"))),
    }
}

fn unreadable(line: usize, reason: impl Into<String>) -> Unreadable {
    Unreadable {
        line,
        reason: reason.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        let mut documents = read(text).expect("readable");
        assert_eq!(documents.len(), 1);
        documents.remove(0)
    }

    #[test]
    fn documents_of_one_text_know_their_lines() {
        let documents = read("---\na: 1\n---\n# nothing\n---\nb:\n  - c\n  - d: yes\n").expect("readable");
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].line_of("a"), Some(2));
        assert_eq!(documents[1].line_of("b[1].d"), Some(8));
        assert_eq!(documents[1].line_of("b[1].x"), Some(8), "the last that is there");
        assert_eq!(documents[1].line_of("x"), None);
    }

    #[test]
    fn json_with_tabs_is_read_like_yaml() {
        let node = one("{\n\t\"a\": [1, \"2\"],\n\t\"b\": {\"c\": null, \"d\": \"\\u00e4\\/\"}\n}\n");
        assert_eq!(node.line_of("b.c"), Some(3));
        assert!(node.get("b").and_then(|b| b.get("c")).is_some_and(Node::is_null));
        assert_eq!(
            node.get("b").and_then(|b| b.get("d")).and_then(Node::scalar),
            Some("ä/")
        );
        let Some(Content::List(elements)) = node.get("a").map(|a| &a.content) else {
            panic!("a list");
        };
        assert_eq!(elements[0].what(), "a number");
        assert_eq!(elements[1].what(), "a text in quotes");
    }

    #[test]
    fn anchors_and_merge_keys_repeat_what_they_name() {
        let node = one("x: &base\n  a: 1\n  b: 2\ny:\n  <<: *base\n  b: 3\n");
        let y = node.get("y").expect("y");
        assert_eq!(y.get("a").and_then(Node::scalar), Some("1"));
        assert_eq!(y.get("b").and_then(Node::scalar), Some("3"));
    }

    #[test]
    fn text_that_cannot_be_read_says_why_and_where() {
        for (text, line, reason) in [
            ("a: 1\nb: 2\na: 3\n", 3, "a is given twice, first in line 1"),
            ("a: 1\nb: !reset null\n", 2, "the tag !reset means nothing here"),
            ("a: [1, 2\nb: 3\n", 2, ""),
        ] {
            let error = read(text).expect_err("unreadable");
            assert_eq!(error.line, line, "{error:?}");
            assert!(error.reason.contains(reason), "{error:?}");
        }
    }

    #[test]
    fn aliases_that_multiply_are_bounded() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..9 {
            let of = level - 1;
            let ten = vec![format!("*a{of}"); 10].join(", ");
            text.push_str(&format!("a{level}: &a{level} [{ten}]\n"));
        }
        assert!(read(&text).expect_err("too many").reason.contains("too many values"));
    }
}
