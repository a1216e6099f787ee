//! Variables in Compose files, `${NAME:-default}` and its kin, and files of variables.
//!
//! Owns what stands for a variable: the environment of the command, then the file `.env` beside the Compose file. Reads files; else pure.

use std::collections::BTreeMap;
use std::path::Path;

/// Variables within the default of another, and so on.
const MAX_DEPTH: usize = 16;

/// What variables stand for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Variables {
    values: BTreeMap<String, String>,
}

impl Variables {
    /// Those of the environment, and of the file `.env` of the folder.
    ///
    /// # Errors
    /// If that file cannot be read.
    pub(crate) fn of(folder: &Path) -> Result<Self, String> {
        let environment = Self {
            values: std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
        };
        let path = folder.join(".env");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(environment),
            Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
        };
        let mut values = BTreeMap::new();
        for (name, value) in file(&text, &environment).map_err(|error| format!("{}:{error}", path.display()))? {
            values.extend(value.map(|value| (name, value)));
        }
        values.extend(environment.values);
        Ok(Self { values })
    }

    /// Exactly these.
    #[cfg(test)]
    pub(super) fn exactly(values: &[(&str, &str)]) -> Self {
        let owned = values
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self {
            values: owned.collect(),
        }
    }

    /// What a variable stands for.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// The text with what its variables stand for; `$$` is a dollar sign.
    ///
    /// # Errors
    /// For a variable that must be set and is not, or a form that does not exist.
    pub(super) fn expand(&self, text: &str) -> Result<String, String> {
        self.expand_within(text, 0)
    }

    fn expand_within(&self, text: &str, depth: usize) -> Result<String, String> {
        if depth > MAX_DEPTH {
            return Err("variables are nested too deeply".to_owned());
        }
        let (mut expanded, mut rest) = (String::new(), text);
        while let Some(at) = rest.find('$') {
            expanded.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            if let Some(after) = rest.strip_prefix('$') {
                expanded.push('$');
                rest = after;
            } else if let Some(inner) = rest.strip_prefix('{') {
                let end = closing(inner).ok_or_else(|| format!("${{{inner} has no end"))?;
                expanded.push_str(&self.braced(&inner[..end], depth)?);
                rest = &inner[end + 1..];
            } else {
                let end = name_end(rest);
                if end == 0 {
                    return Err(format!(
                        "a dollar sign that begins no variable is written $$, in {text:?}"
                    ));
                }
                expanded.push_str(self.required(&rest[..end])?);
                rest = &rest[end..];
            }
        }
        expanded.push_str(rest);
        Ok(expanded)
    }

    /// What stands between braces.
    fn braced(&self, inner: &str, depth: usize) -> Result<String, String> {
        let (name, operation) = inner.split_at(name_end(inner));
        if name.is_empty() {
            return Err(format!("${{{inner}}} names no variable"));
        }
        let value = self.get(name);
        let set = value.filter(|value| !value.is_empty());
        let forms = [":-", "-", ":?", "?", ":+", "+"];
        let Some(form) = forms.into_iter().find(|form| operation.starts_with(form)) else {
            return match operation {
                "" => self.required(name).map(str::to_owned),
                other => Err(format!("${{{inner}}}: there is no form {other}")),
            };
        };
        let word = || self.expand_within(&operation[form.len()..], depth + 1);
        let value = if form.starts_with(':') { set } else { value };
        match (form.trim_start_matches(':'), value) {
            ("+", Some(_)) => word(),
            ("+", None) => Ok(String::new()),
            (_, Some(value)) => Ok(value.to_owned()),
            ("-", None) => word(),
            (_, None) => match word()? {
                reason if reason.is_empty() => Err(format!("the variable {name} is not set")),
                reason => Err(format!("the variable {name} is not set: {reason}")),
            },
        }
    }

    /// A variable without a default: Compose takes nothing for it and warns, which here would go into a cluster.
    fn required(&self, name: &str) -> Result<&str, String> {
        self.get(name)
            .ok_or_else(|| format!("the variable {name} is not set; ${{{name}:-}} stands for nothing if that is meant"))
    }
}

/// Where the name of a variable ends.
fn name_end(text: &str) -> usize {
    let is_part = |c: char, first: bool| c == '_' || c.is_ascii_alphabetic() || (!first && c.is_ascii_digit());
    let end = text.char_indices().find(|(at, c)| !is_part(*c, *at == 0));
    end.map_or(text.len(), |(at, _)| at)
}

/// Where the brace closes that was open before the text.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 0 => return Some(at),
            '}' => open -= 1,
            _ => {}
        }
    }
    None
}

/// The variables of a file: `NAME=VALUE` in lines, with comments, and quotes as shells have them. A name alone has no value of its own.
///
/// # Errors
/// The number of the line that cannot be read, and why.
pub(super) fn file(text: &str, variables: &Variables) -> Result<Vec<(String, Option<String>)>, String> {
    let (mut found, mut known) = (vec![], variables.clone());
    for (index, line) in text.lines().enumerate() {
        let line = line.trim_start();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let failed = |reason: String| format!("{}: {reason}", index + 1);
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value)),
            None => (line.trim(), None),
        };
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(failed(format!("{line:?} is not NAME=VALUE")));
        }
        let value = value.map(|value| unquoted(value, &known)).transpose().map_err(failed)?;
        if let (Some(value), None) = (&value, variables.get(name)) {
            known.values.insert(name.to_owned(), value.clone());
        }
        found.push((name.to_owned(), value));
    }
    Ok(found)
}

/// A value as it is meant.
fn unquoted(given: &str, variables: &Variables) -> Result<String, String> {
    let given = given.trim();
    if let Some(inner) = given.strip_prefix('\'') {
        let (inner, rest) = inner.split_once('\'').ok_or("a quote that does not end in its line")?;
        return after_quote(rest).map(|()| inner.to_owned());
    }
    let Some(inner) = given.strip_prefix('"') else {
        let end = given
            .match_indices('#')
            .find(|(at, _)| given[..*at].is_empty() || given[..*at].ends_with([' ', '\t']));
        let plain = end.map_or(given, |(at, _)| given[..at].trim_end());
        return variables.expand(plain);
    };
    let (mut text, mut characters) = (String::new(), inner.char_indices());
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => {
                after_quote(&inner[at + 1..])?;
                return variables.expand(&text);
            }
            '\\' => match characters.next() {
                Some((_, 'n')) => text.push('\n'),
                Some((_, 't')) => text.push('\t'),
                Some((_, 'r')) => text.push('\r'),
                Some((_, '$')) => text.push_str("$$"),
                Some((_, other)) => text.push(other),
                None => break,
            },
            other => text.push(other),
        }
    }
    Err("a quote that does not end in its line".to_owned())
}

fn after_quote(rest: &str) -> Result<(), String> {
    let rest = rest.trim();
    match rest.is_empty() || rest.starts_with('#') {
        true => Ok(()),
        false => Err(format!("{rest:?} stands behind the closing quote")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_for_what_their_form_says() {
        let variables = Variables::exactly(&[("TAG", "2"), ("EMPTY", "")]);
        for (text, expanded) in [
            ("web:$TAG-x", "web:2-x"),
            ("web:${TAG}", "web:2"),
            ("${MISSING:-a${TAG}b}", "a2b"),
            ("${EMPTY:-x}${EMPTY-y}", "x"),
            ("${TAG:+on}${MISSING+on}", "on"),
            ("$$TAG", "$TAG"),
            ("${MISSING-}", ""),
        ] {
            assert_eq!(variables.expand(text).as_deref(), Ok(expanded), "{text}");
        }
        for (text, reason) in [
            ("$MISSING", "the variable MISSING is not set"),
            ("${EMPTY:?say it}", "the variable EMPTY is not set: say it"),
            ("${TAG", "has no end"),
            ("cost: 5$", "is written $$"),
            ("${TAG/a/b}", "there is no form"),
        ] {
            let error = variables.expand(text).expect_err(text);
            assert!(error.contains(reason), "{error}");
        }
    }

    #[test]
    fn file_of_variables_is_read_as_shells_would() {
        let text = "# a comment\n\nA=1 # one\nexport B='$A # not'\nC=\"x ${A}\\n\\$A\"\nD\nE=a#b\nF=\n";
        let found = file(text, &Variables::default()).expect("readable");
        let expected = [
            ("A", Some("1")),
            ("B", Some("$A # not")),
            ("C", Some("x 1\n$A")),
            ("D", None),
            ("E", Some("a#b")),
            ("F", Some("")),
        ];
        let found: Vec<(&str, Option<&str>)> = found
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        assert_eq!(found, expected);
        let error = file("A=1\nB=\"x\n", &Variables::default()).expect_err("no end");
        assert!(error.starts_with("2: a quote"), "{error}");
    }
}
