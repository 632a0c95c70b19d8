//! The command line: what can be said, in this program's own words and in the original server's.
//!
//! [`parse`] only reads; [`main`] runs what it returns. Nothing here writes over a file.

pub mod check;
mod client;
pub mod get;
mod legacy;
mod machine;
mod main;
pub mod put;
#[cfg(test)]
mod scripted;
pub mod sign;
pub mod start;
pub mod trial;
mod welcome;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use self::client::{ClientError, ClientOptions, Refusal};
pub use self::legacy::modernise;
pub use self::main::main;
use self::sign::DialectArg;
pub use self::welcome::{greet, welcome};
use crate::config::Overrides;

/// Stores and serves the files that XMPP users send each other (XEP-0363).
///
/// Without a configuration file and without arguments it starts for trial on 127.0.0.1:8080 and keeps everything below
/// ./data.
#[derive(Clone, Debug, Parser)]
#[command(name = "hmac-file-server", version, max_term_width = 100)]
pub struct Cli {
    /// Where the configuration is, and what outranks it.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do; `serve` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Where the configuration is, and what outranks it.
#[derive(Args, Clone, Debug, Default)]
pub struct Settings {
    /// Configuration file [default: ./config.toml; variable HMAC_FILE_SERVER_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Address to listen on: 8080, 127.0.0.1:8080, [::]:8080, unix:/path; may be repeated
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Root of the stored files
    #[arg(long, global = true, value_name = "FOLDER")]
    pub storage_path: Option<String>,
    /// Where clients see the server, such as https://files.example.org/upload/
    #[arg(long, global = true, value_name = "URL")]
    pub public_url: Option<String>,
    /// File with the secret; may be repeated
    #[arg(long, global = true, value_name = "FILE")]
    pub secret_file: Vec<String>,
    /// error, warn, info, debug or trace
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
}

impl Settings {
    /// What outranks file and environment.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            listen: self.listen.clone(),
            storage: self.storage_path.clone(),
            public_url: self.public_url.clone(),
            secret_file: self.secret_file.clone(),
            log_level: self.log_level.clone(),
        }
    }
}

/// What the program can do.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve,
    /// Judge the configuration without starting anything; status 78 when it cannot be used
    Check(CheckArgs),
    /// Print a PUT and a GET URL that this server accepts
    Sign(SignCommand),
    /// Upload a file
    Put(PutArgs),
    /// Download a file, continuing what is there
    Get(GetArgs),
    /// Take an existing tree of files into the server's care, in place
    Adopt,
    /// Print the manual of the configuration, or an example
    Config(ConfigArgs),
}

/// `check`.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct CheckArgs {
    /// Also compare files and rows, both ways; status 1 when they differ
    #[arg(long)]
    pub storage: bool,
    /// Also read every file that was hashed when it came (`[uploads] content_hash`), and compare
    #[arg(long, requires = "storage")]
    pub digests: bool,
    /// Say nothing when all is well
    #[arg(long)]
    pub quiet: bool,
}

/// `sign`.
#[derive(Args, Clone, Debug)]
pub struct SignCommand {
    /// What and how
    #[command(flatten)]
    pub sign: sign::SignArgs,
    /// Base URL of the server [default: public_url of the configuration, or the listener]
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
}

/// `put`.
#[derive(Args, Clone, Debug)]
pub struct PutArgs {
    /// The file
    pub file: PathBuf,
    /// PUT URL of a slot that is signed already; without it, the slot is signed with the configuration's secret
    #[arg(long, value_name = "URL")]
    pub to: Option<String>,
    /// Path of the slot to sign [default: a random folder and the file's name]
    #[arg(long, value_name = "PATH", conflicts_with = "to")]
    pub slot: Option<String>,
    /// How to sign
    #[arg(long, value_enum, default_value_t = DialectArg::V2, conflicts_with = "to")]
    pub dialect: DialectArg,
    /// Base URL of the server [default: public_url of the configuration, or the listener]
    #[arg(long, value_name = "URL", conflicts_with = "to")]
    pub url: Option<String>,
    /// Media type [default: by the name]
    #[arg(long = "type", value_name = "TYPE")]
    pub media_type: Option<String>,
    /// The connection
    #[command(flatten)]
    pub client: ClientArgs,
}

/// `get`.
#[derive(Args, Clone, Debug)]
pub struct GetArgs {
    /// The file's URL
    pub url: String,
    /// Where to write [default: the name in the URL, in this folder]
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace a file that exists
    #[arg(long)]
    pub force: bool,
    /// The connection
    #[command(flatten)]
    pub client: ClientArgs,
}

/// How `put` and `get` reach the server.
#[derive(Args, Clone, Debug)]
pub struct ClientArgs {
    /// Certificates (PEM), the server's own or an authority's, to trust instead of the public authorities
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// No progress bar
    #[arg(long)]
    pub quiet: bool,
}

impl From<ClientArgs> for ClientOptions {
    fn from(args: ClientArgs) -> Self {
        Self { ca: args.ca, quiet: args.quiet }
    }
}

/// `config`.
#[derive(Args, Clone, Debug)]
pub struct ConfigArgs {
    /// What to print
    #[command(subcommand)]
    pub what: ConfigCommand,
}

/// What `config` prints.
#[derive(Clone, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Every key
    Reference,
    /// A commented file
    Example {
        /// Write to this file, which must not exist
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

impl ConfigCommand {
    /// Prints to `out`, or writes the file that was asked for.
    ///
    /// # Errors
    /// The file exists already, or cannot be written.
    pub fn run(&self, out: &mut dyn std::io::Write) -> std::io::Result<()> {
        match self {
            Self::Reference => out.write_all(crate::config::reference().as_bytes()),
            Self::Example { output: None } => out.write_all(crate::config::EXAMPLE.as_bytes()),
            Self::Example { output: Some(path) } => {
                let mut file = std::fs::File::create_new(path)?;
                std::io::Write::write_all(&mut file, crate::config::EXAMPLE.as_bytes())?;
                writeln!(out, "Configuration written to {}", path.display())
            }
        }
    }
}

/// Reads the command line, the program's name first.
///
/// # Errors
/// What clap has to say: usage (status 2), help and version (status 0); `exit()` on it does the right thing.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(modernise(args))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn nothing_said_serves() {
        let cli = read("hmac-file-server").unwrap();
        assert!(cli.command.is_none() && cli.settings.config.is_none());
    }

    #[test]
    fn settings_may_stand_on_either_side_of_the_command() {
        for line in ["x --config F check --storage", "x check --storage --config F", "x check --config=F --storage"] {
            let cli = read(line).unwrap();
            assert_eq!(cli.settings.config, Some("F".into()), "{line}");
            assert!(matches!(cli.command, Some(Command::Check(args)) if args.storage), "{line}");
        }
        let cli = read("x serve --listen 1 --listen 2 --storage-path /s").unwrap();
        assert_eq!(cli.settings.overrides().listen, ["1", "2"]);
        assert_eq!(cli.settings.overrides().storage.as_deref(), Some("/s"));
    }

    #[test]
    fn what_is_unknown_gives_usage_and_status_2() {
        for line in ["x --validate", "x -genconfig-mobile", "x -list-checks", "x bogus", "x sign"] {
            let error = read(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains("Usage"), "{line}: {error}");
        }
        assert_eq!(read("x -version").unwrap_err().exit_code(), 0);
        assert_eq!(read("x -help").unwrap_err().exit_code(), 0);
    }

    #[test]
    fn a_signed_slot_needs_no_dialect() {
        let cli = read("x put a.txt --to http://127.0.0.1/a?v=0").unwrap();
        assert!(matches!(cli.command, Some(Command::Put(args)) if args.to.is_some()));
        assert!(read("x put a.txt --to http://127.0.0.1/a?v=0 --dialect v1").is_err());
        let cli = read("x sign id/a.txt --size 3 --dialect file-share").unwrap();
        assert!(matches!(cli.command, Some(Command::Sign(command)) if command.sign.dialect == DialectArg::FileShare));
    }

    #[test]
    fn an_example_never_replaces_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new.toml");
        let example = ConfigCommand::Example { output: Some(path.clone()) };
        let mut out = Vec::new();
        example.run(&mut out).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), crate::config::EXAMPLE);
        assert_eq!(example.run(&mut out).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    }
}
