//! What is to say about a configuration: findings, each with the line it is about, printed like a compiler's.
//!
//! Excerpts come from `source`, which sees to it that no secret is in them.

use std::fmt;

pub use super::source::Excerpt;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// The server does not start.
    Error,
    /// It starts, but something is not as written.
    Warning,
    /// Worth knowing.
    Notice,
}

/// One thing to say about a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// One line without a full stop.
    pub message: String,
    /// What it is about.
    pub location: Option<Location>,
    /// What to do.
    pub help: Option<String>,
}

/// What a finding is about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Location {
    /// A line of a file.
    Line(Excerpt),
    /// An environment variable, a flag, a file as a whole.
    Named(String),
}

/// Findings that forbid to start (and those that do not, of the same file).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Report {
    /// In the order of the file.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// A finding about nothing in particular.
    #[must_use]
    pub fn new(severity: Severity, message: impl Into<String>) -> Self {
        Self { severity, message: message.into(), location: None, help: None }
    }

    /// Names what it is about.
    #[must_use]
    pub fn at(self, name: impl Into<String>) -> Self {
        Self { location: Some(Location::Named(name.into())), ..self }
    }

    /// Says what to do.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// On one line, without the excerpt: for the log.
    #[must_use]
    pub fn line(&self) -> String {
        let place = match &self.location {
            Some(Location::Line(excerpt)) => format!(" ({})", excerpt.place()),
            Some(Location::Named(name)) => format!(" ({name})"),
            None => String::new(),
        };
        let help = self.help.as_ref().map(|help| format!(": {help}")).unwrap_or_default();
        format!("{}{place}{help}", self.message)
    }
}

impl Report {
    /// A report of one error.
    #[must_use]
    pub fn of(finding: Finding) -> Self {
        Self { findings: vec![finding] }
    }

    /// The errors on one line: for the log.
    #[must_use]
    pub fn line(&self) -> String {
        let errors = self.findings.iter().filter(|finding| finding.severity == Severity::Error);
        errors.map(Finding::line).collect::<Vec<_>>().join("; ")
    }

    /// How many findings are errors.
    #[must_use]
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|f| f.severity == Severity::Error).count()
    }
}

impl std::error::Error for Report {}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let errors = self.errors();
        let warnings = self.findings.iter().filter(|f| f.severity == Severity::Warning).count();
        write!(f, "{}, {}", count(errors, "error"), count(warnings, "warning"))
    }
}

fn count(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity, self.message)?;
        let mut gutter = 1;
        match &self.location {
            Some(Location::Line(excerpt)) => {
                gutter = excerpt.line.to_string().len();
                excerpt.fmt(f)?;
            }
            Some(Location::Named(name)) => writeln!(f, " --> {name}")?,
            None => {}
        }
        if let Some(help) = &self.help {
            writeln!(f, "{:gutter$} = help: {help}", "")?;
        }
        Ok(())
    }
}
