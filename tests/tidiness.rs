//! What the style of this repository demands of every file, as far as a program can check it.
//!
//! Owns those rules. Each test lists every place that breaks its rule, with what to do.

use std::collections::BTreeSet;

use anyhow::Result;
use berth_tests::{SourceFile, files, root};

/// Lines of one file, above which it is time to look for the second concept.
const MAX_LINES: usize = 700;

/// Which crates of the workspace each may depend on: arrows point one way.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("aws", &[]),
    ("aws/generate", &[]),
    ("proto", &[]),
    ("storage", &[]),
    ("raft", &["berth-proto", "berth-storage"]),
    ("trust", &[]),
    ("hooks", &[]),
    ("joining", &["berth-proto", "berth-trust"]),
    (
        "controller",
        &[
            "berth-core",
            "berth-aws",
            "berth-hooks",
            "berth-joining",
            "berth-proto",
            "berth-raft",
            "berth-storage",
            "berth-trust",
        ],
    ),
    (
        "agent",
        &[
            "berth-core",
            "berth-hooks",
            "berth-joining",
            "berth-proto",
            "berth-storage",
            "berth-trust",
        ],
    ),
    ("sim", &["berth-core", "berth-proto", "berth-raft", "berth-storage"]),
    (
        "cli",
        &[
            "berth-core",
            "berth-aws",
            "berth-controller",
            "berth-agent",
            "berth-sim",
            "berth-trust",
        ],
    ),
    ("tests", &["berth-aws", "berth-core", "berth-proto"]),
];

/// What `core` may use: data structures and formats; nothing that does IO, waits, logs or knows the time.
const CORE_MAY_USE: &[&str] = &["imbl", "regex-lite", "serde", "serde_json", "thiserror"];

#[test]
fn architecture_page_names_only_paths_that_exist() -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md"))?;
    let named = paths_in(&page)?;
    assert!(
        named.len() >= 40,
        "docs/ARCHITECTURE.md names only {} paths; are they in backticks?",
        named.len()
    );
    let missing: Vec<&String> = named.iter().filter(|path| !root().join(path).exists()).collect();
    assert!(
        missing.is_empty(),
        "docs/ARCHITECTURE.md names paths that do not exist: {missing:#?}"
    );
    Ok(())
}

#[test]
fn decisions_and_checklists_name_only_paths_that_exist() -> Result<()> {
    let (mut missing, mut count) = (vec![], 0);
    for file in files()? {
        let is_checked = file.path.starts_with("docs/decisions/") || file.path.starts_with("docs/checklists/");
        if !is_checked {
            continue;
        }
        let named = paths_in(&file.text)?;
        count += named.len();
        let named = named.iter().map(|path| without_placeholder(path));
        let absent = named.filter(|path| !root().join(path).exists());
        missing.extend(absent.map(|path| format!("{}: {path}", file.path)));
    }
    assert!(missing.is_empty(), "these name paths that do not exist: {missing:#?}");
    assert!(count >= 40, "only {count} paths are named; are they in backticks?");
    Ok(())
}

#[test]
fn architecture_page_names_every_folder_of_the_crates() -> Result<()> {
    let page = std::fs::read_to_string(root().join("docs/ARCHITECTURE.md"))?;
    let folders: BTreeSet<String> = files()?
        .iter()
        .filter(|file| file.is_written_rust())
        .filter_map(concept_folder)
        .collect();
    let missing: Vec<&String> = folders
        .iter()
        .filter(|folder| !page.contains(folder.as_str()))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/ARCHITECTURE.md does not say what is in {missing:#?}"
    );
    Ok(())
}

#[test]
fn modules_open_with_what_they_own() -> Result<()> {
    let silent = paths_of(&files()?, |file| {
        file.is_written_rust() && !file.text.starts_with("//!")
    });
    assert!(
        silent.is_empty(),
        "these do not open with `//!` and what they own: {silent:#?}"
    );
    Ok(())
}

#[test]
fn files_stay_below_the_limit_of_lines() -> Result<()> {
    let long = paths_of(&files()?, |file| {
        let is_code = file.is_written_rust() || file.path.ends_with(".py") || file.path.ends_with(".sh");
        is_code && file.text.lines().count() > MAX_LINES
    });
    assert!(
        long.is_empty(),
        "these are longer than {MAX_LINES} lines; look for the second concept: {long:#?}"
    );
    Ok(())
}

#[test]
fn files_hold_nothing_of_the_place_where_they_were_written() -> Result<()> {
    // Put together here, so that this file does not hold them itself.
    let folder = |name: &str| format!("/{name}/");
    let words = [
        folder("work"),
        format!("..{}traces", folder("shared")),
        ["as an", "AI"].join(" "),
        ["language", "model"].join(" "),
    ];
    let found = paths_of(&files()?, |file| {
        let is_exempt = file.path.starts_with(".ci/") || file.path == "Cargo.lock";
        !is_exempt && words.iter().any(|word| file.text.contains(word.as_str()))
    });
    assert!(found.is_empty(), "these hold one of {words:?}: {found:#?}");
    Ok(())
}

#[test]
fn unfinished_work_is_not_in_the_tree() -> Result<()> {
    let marks = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["X", "XX"].concat(),
        ["unimplemen", "ted!("].concat(),
    ];
    let found = paths_of(&files()?, |file| {
        file.is_written_rust() && marks.iter().any(|mark| has_word(&file.text, mark))
    });
    assert!(
        found.is_empty(),
        "these hold one of {marks:?}; finish it or file an issue: {found:#?}"
    );
    Ok(())
}

#[test]
fn crates_depend_along_the_arrows() -> Result<()> {
    for (folder, allowed) in ARROWS {
        let ours = dependencies(folder)?
            .into_iter()
            .filter(|name| name.starts_with("berth-"));
        let wrong: Vec<String> = ours.filter(|name| !allowed.contains(&name.as_str())).collect();
        assert!(
            wrong.is_empty(),
            "{folder}/Cargo.toml depends on {wrong:?}, against the direction of docs/ARCHITECTURE.md"
        );
    }
    Ok(())
}

#[test]
fn core_depends_on_nothing_impure() -> Result<()> {
    let wrong: Vec<String> = dependencies("core")?
        .into_iter()
        .filter(|name| !CORE_MAY_USE.contains(&name.as_str()))
        .collect();
    assert!(wrong.is_empty(), "core is pure; these are not on its list: {wrong:?}");
    Ok(())
}

/// Paths in backticks that begin with a folder or file of the root.
fn paths_in(page: &str) -> Result<BTreeSet<String>> {
    let mut tops = BTreeSet::new();
    for entry in std::fs::read_dir(root())? {
        tops.insert(entry?.file_name().to_string_lossy().into_owned());
    }
    let quoted = page
        .split('`')
        .skip(1)
        .step_by(2)
        .map(|text| text.split("::").next().unwrap_or(text));
    let is_path = |text: &&str| {
        let is_one_word = !text.contains(char::is_whitespace) && !text.contains(['<', '*', '(', '{']);
        is_one_word && text.contains(['/', '.']) && tops.contains(text.split('/').next().unwrap_or_default())
    };
    Ok(quoted.filter(is_path).map(str::to_owned).collect())
}

/// The folder of a file that is yet to be written: checklists call it by one of these names.
fn without_placeholder(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some((folder, file)) if file.starts_with("NAME.") || file.starts_with("OPERATION.") => folder,
        _ => path,
    }
}

/// `controller/src/api` of `controller/src/api/ecs/create_service.rs`: the folders that a reader meets first.
fn concept_folder(file: &SourceFile) -> Option<String> {
    let parts: Vec<&str> = file.path.split('/').collect();
    let source = parts.iter().position(|part| *part == "src")?;
    let is_folder = parts.len() > source + 2;
    is_folder.then(|| parts[..source + 2].join("/"))
}

fn paths_of(files: &[SourceFile], breaks_the_rule: impl Fn(&SourceFile) -> bool) -> Vec<String> {
    files
        .iter()
        .filter(|file| breaks_the_rule(file))
        .map(|file| file.path.clone())
        .collect()
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    text.match_indices(word)
        .any(|(at, _)| !is_part(text[..at].chars().next_back()) && !is_part(text[at + word.len()..].chars().next()))
}

/// Names under `[dependencies]` of a crate.
fn dependencies(folder: &str) -> Result<Vec<String>> {
    let manifest = std::fs::read_to_string(root().join(folder).join("Cargo.toml"))?;
    let section = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let lines = section.lines().skip(1).take_while(|line| !line.starts_with('['));
    Ok(lines
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect())
}
