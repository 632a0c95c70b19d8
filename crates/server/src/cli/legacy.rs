//! The original server's flags (`-config F`, `-validate-config`), rewritten into today's words before clap sees them.

use std::ffi::OsString;

/// Flags that name a command today. Of several, the last counts.
const COMMANDS: [(&str, &[&str]); 9] = [
    ("validate-config", &["check"]),
    ("validate-verbose", &["check"]),
    ("validate-quiet", &["check", "--quiet"]),
    ("check-security", &["check"]),
    ("check-performance", &["check"]),
    ("check-connectivity", &["check"]),
    ("genconfig", &["config", "example"]),
    ("genconfig-advanced", &["config", "example"]),
    ("genconfig-path", &["config", "example", "--output"]),
];

/// Today's words for a whole command line, the program's name first. What is not the original's stays as it is, so
/// that clap names it in its complaint.
pub fn modernise(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter();
    let mut out: Vec<OsString> = args.next().into_iter().collect();
    let mut command: Vec<OsString> = Vec::new();
    while let Some(arg) = args.next() {
        let text = arg.to_str().unwrap_or_default();
        let Some(flag) = text.strip_prefix("--").or_else(|| text.strip_prefix('-')) else {
            out.push(arg);
            continue;
        };
        let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
        match name {
            "config" | "version" | "help" => out.push(format!("--{flag}").into()),
            "" => {
                out.push(arg);
                out.extend(args.by_ref());
            }
            _ => match COMMANDS.iter().find(|(old, _)| *old == name) {
                Some((_, words)) if value != Some("false") => {
                    command = words.iter().map(OsString::from).collect();
                    if name == "genconfig-path" {
                        command.extend(value.map(OsString::from).or_else(|| args.next()));
                    }
                }
                Some(_) => {}
                None => out.push(arg),
            },
        }
    }
    out.extend(command);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(line: &str) -> String {
        let words = modernise(line.split(' ').map(OsString::from));
        words.iter().map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_originals_flags_become_todays_words() {
        assert_eq!(rewritten("x -config F"), "x --config F");
        assert_eq!(rewritten("x -config=F"), "x --config=F");
        assert_eq!(rewritten("x -validate-config -config F"), "x --config F check");
        assert_eq!(rewritten("x --config F --validate-config"), "x --config F check");
        assert_eq!(rewritten("x -validate-quiet"), "x check --quiet");
        assert_eq!(rewritten("x -genconfig"), "x config example");
        assert_eq!(rewritten("x -genconfig-path F"), "x config example --output F");
        assert_eq!(rewritten("x -version"), "x --version");
        assert_eq!(rewritten("x -validate-config=false"), "x");
    }

    #[test]
    fn todays_words_stay() {
        for line in ["x", "x check --storage --config F", "x get --output - URL", "x -bogus", "x put -- -config"] {
            assert_eq!(rewritten(line), line);
        }
    }
}
