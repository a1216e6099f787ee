//! What a check found, and how it is shown. Pure.

use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and may not for long or not well.
    Warning,
    /// It does not work.
    Problem,
}

/// What one check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How bad it is.
    pub(super) level: Level,
    /// What was looked at.
    pub(super) subject: String,
    /// How it is.
    pub(super) found: String,
    /// What to do about it; empty where nothing is to be done.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) advice: String,
}

impl Finding {
    /// As it should be.
    pub(super) fn ok(subject: &str, found: impl Into<String>) -> Self {
        Self::new(Level::Ok, subject, found, "")
    }

    /// It works, and may not for long or not well.
    pub(super) fn warning(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Level::Warning, subject, found, advice)
    }

    /// It does not work.
    pub(super) fn problem(subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(Level::Problem, subject, found, advice)
    }

    fn new(level: Level, subject: &str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            level,
            subject: subject.to_owned(),
            found: found.into(),
            advice: advice.into(),
        }
    }
}

/// The findings under their headings, and in the end what they come to.
pub(super) fn render(groups: &[(&str, Vec<Finding>)]) -> String {
    let mut lines = vec![];
    for (heading, findings) in groups {
        lines.push((*heading).to_owned());
        for finding in findings {
            let mark = match finding.level {
                Level::Ok => "ok",
                Level::Warning => "WARNING",
                Level::Problem => "PROBLEM",
            };
            lines.push(format!("  {mark:<8} {}: {}", finding.subject, finding.found));
            if !finding.advice.is_empty() {
                lines.push(format!("           -> {}", finding.advice));
            }
        }
    }
    let count = |level| {
        let all = groups.iter().flat_map(|(_, findings)| findings);
        all.filter(|finding| finding.level == level).count()
    };
    lines.push(match (count(Level::Problem), count(Level::Warning)) {
        (0, 0) => "All is well.".to_owned(),
        (problems, warnings) => format!("{problems} problem(s), {warnings} warning(s)."),
    });
    lines.join("\n")
}

/// The worst of all.
pub(super) fn worst(groups: &[(&str, Vec<Finding>)]) -> Level {
    let all = groups.iter().flat_map(|(_, findings)| findings);
    all.map(|finding| finding.level).max().unwrap_or(Level::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_shown_with_their_advice_and_counted() {
        let groups = [
            (
                "Host",
                vec![
                    Finding::ok("kernel", "6.1"),
                    Finding::problem("runc", "missing", "install runc"),
                ],
            ),
            ("Cluster", vec![Finding::warning("clock", "2 s off", "run chrony")]),
        ];
        assert_eq!(
            render(&groups),
            "Host\n  ok       kernel: 6.1\n  PROBLEM  runc: missing\n           -> install runc\nCluster\n  WARNING  clock: 2 s off\n           \
             -> run chrony\n1 problem(s), 1 warning(s)."
        );
        assert_eq!(worst(&groups), Level::Problem);
        assert_eq!(worst(&groups[1..]), Level::Warning);
    }
}
