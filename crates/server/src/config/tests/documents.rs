//! Every TOML block of the documents is a configuration that starts.

use super::*;

const DOCUMENTS: [&str; 7] = [
    "README.md",
    "docs/xmpp-servers.md",
    "docs/proxy.md",
    "docs/operating.md",
    "docs/adaptive.md",
    "docs/migration.md",
    "docs/configuration.md",
];

/// The one block that shows an older configuration, which loads with warnings.
const OLDER: &str = "listenport";

#[test]
fn every_block_of_the_documents_loads() {
    let mut seen = 0;
    for document in DOCUMENTS {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(document);
        let text = std::fs::read_to_string(path).unwrap();
        for block in text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            seen += 1;
            check(document, block);
        }
    }
    assert!(seen >= 9, "only {seen} blocks were found");
}

fn check(document: &str, block: &str) {
    let block = block.replace("paste-the-secret-here", SECRET);
    let secret = ("HMAC_FILE_SERVER__SECURITY__SECRETS".to_owned(), SECRET.to_owned());
    let env = (!block.contains("secret")).then_some(secret);
    let files = |_: &Path| Ok(SECRET.to_owned());
    let loaded = parse(&block, None, env, &Overrides::default(), &files);
    let loaded = loaded.unwrap_or_else(|report| panic!("{document}:\n{block}\n{report}"));
    let warnings = loaded.findings.iter().filter(|finding| finding.severity == Severity::Warning).count();
    assert!(warnings == 0 || block.contains(OLDER), "{document}:\n{block}\n{}", said(&loaded));
}
