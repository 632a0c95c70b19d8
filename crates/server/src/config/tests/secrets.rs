//! Secrets: where they come from, who may read them, and that no report shows one.

use hfs_core::auth::JwtAlgorithm;

use super::*;

#[test]
fn no_report_shows_a_secret() {
    let broken = [
        "[security]\nsecret = \"hunter2hunter2\n",
        "[security]\nsecert = \"hunter2hunter2\"\n",
        "[security]\nsecert = \"hunter2hunter2\n",
        "security.secret = 'hunter2' # was hunter2\n",
        "[security]\nsecret = \"your-secret-key-here\" # not hunter2\n",
        "[security]\nsecret = [\"hunter2\", 1.5, true]\n",
        "[security]\nsecrets = [\n \"hunter2hunter2\"\n \"hunter2hunter2\"\n]\n",
        "[redis]\nredispassword = { a = \"hunter2\" }\n",
        "[admin.auth]\npassword = \"hunter2\n",
        "security = { secret = \"hunter2\", jwt = 1 }\n",
        "[security]\nenablejwt = true\njwtsecret = \"hunter2\"\n",
        "[security]\nhunter2\n",
    ];
    for text in broken {
        let report = with_env(text, &[]).unwrap_err().to_string();
        assert!(!report.contains("hunter2"), "{text}\n{report}");
        assert!(!report.contains("your-secret-key-here"), "{report}");
    }
    let env = [("HMAC_FILE_SERVER__SECURITY__SECRET", "hunter2")];
    assert!(!with_env("", &env).unwrap_err().to_string().contains("hunter2"));
}

#[test]
fn secret_files_are_read_and_a_missing_one_is_named() {
    let files = |path: &Path| match path.to_str() {
        Some("/run/cred/a") => Ok("aaaabbbbccccddddeeee\n".to_owned()),
        Some("/etc/b") => Ok(SECRET.to_owned()),
        _ => no_files(path),
    };
    let env = || [("CREDENTIALS_DIRECTORY".to_owned(), "/run/cred".to_owned())];
    let read = |text: &str| parse(text, None, env(), &Overrides::default(), &files);
    let loaded = read("security.secret_file = [\"a\", \"/etc/b\"]").unwrap();
    assert_eq!(loaded.config.keys.secrets[0].expose(), b"aaaabbbbccccddddeeee");
    assert_eq!(loaded.config.keys.secrets.len(), 2);
    let error = read("security.secret_file = \"/etc/c\"").unwrap_err().to_string();
    assert!(error.contains("cannot read /etc/c") && !error.contains("there is no secret"), "{error}");
}

#[test]
fn a_secret_file_that_others_can_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, SECRET).unwrap();
    let with_mode = |mode| {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let overrides = Overrides { secret_file: vec![path.display().to_string()], ..Overrides::default() };
        load_env([], &overrides)
    };
    let error = with_mode(0o644).unwrap_err().to_string();
    assert!(error.contains("chmod 600") && error.contains("0644"), "{error}");
    assert!(with_mode(0o600).is_ok());
}

#[test]
fn a_file_with_a_secret_that_everyone_can_read_warns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, format!("[security]\nsecret = \"{SECRET}\"\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let loaded = load(&path, [], &Overrides::default()).unwrap();
    assert!(said(&loaded).contains("chmod 640"));
    assert_eq!(loaded.config.source.as_deref(), Some(path.as_path()));
    let missing = load(&folder.path().join("no.toml"), [], &Overrides::default()).unwrap_err().to_string();
    assert!(missing.contains("cannot read the configuration") && missing.contains("no.toml"), "{missing}");
}

#[test]
fn jwt_keys_are_pinned_and_complete() {
    let loaded =
        with_env(&format!("[security]\nenablejwt = true\njwt_secret = \"{SECRET}\"\njwtalgorithm = \"hs512\""), &[]);
    let keys = loaded.unwrap().config.keys;
    assert!(keys.secrets.is_empty() && keys.jwt_secret.is_some());
    assert_eq!(keys.jwt_algorithm, JwtAlgorithm::Hs512);
    assert!(report("[security]\nenablejwt = true").contains("needs `jwtsecret`"));
    assert!(report("[security]\njwtalgorithm = \"none\"").contains("expected one of"));
    assert!(config("[security]\njwtsecret = \"changeme\"").keys.jwt_secret.is_none());
}
