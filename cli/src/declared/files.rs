//! Files, folders and standard input that declare things.
//!
//! Owns which files of a folder are read, and that nothing is declared twice. Shell.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use super::compose;
use super::document::{self, Node};
use super::problem::{Place, Problem, Problems};
use super::resource::{KIND, Kind, Resource};

/// Endings of the files of a folder that are read.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];
/// Bytes of one file: requests are at most 64 KiB each.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The name of standard input.
const STANDARD_INPUT: &str = "-";

/// The flag that names the files.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FileArguments {
    /// Files with documents of kind Cluster, CapacityProvider, TaskDefinition and Service, or Compose files; a folder stands for its .yaml, .yml and
    /// .json files, and - for standard input
    #[arg(short = 'f', long = "file", value_name = "FILE", num_args = 1..)]
    pub(crate) files: Vec<PathBuf>,
}

/// What the files declare.
#[derive(Clone, Debug)]
pub(crate) struct Declared {
    /// In the order in which it is made.
    pub(crate) resources: Vec<Resource>,
}

impl FileArguments {
    /// Reads and checks all files.
    ///
    /// # Errors
    /// [`Problems`] with all that is wrong in them; others if a file cannot be read.
    pub(crate) fn read(&self) -> Result<Declared> {
        ensure!(
            !self.files.is_empty(),
            "-f is missing: name the files, a folder of them, or - for standard input"
        );
        let (mut resources, mut problems) = (vec![], vec![]);
        for path in paths(&self.files)? {
            let file = path.display().to_string();
            let text = text_of(&path)?;
            match document::read(&text) {
                Ok(documents) => {
                    for node in documents.into_iter().flat_map(elements) {
                        match of_document(&path, &file, node) {
                            Ok(found) => resources.extend(found),
                            Err(found) => problems.extend(found),
                        }
                    }
                }
                Err(error) => problems.push(Problem {
                    place: Place { file, line: error.line },
                    subject: String::new(),
                    member: String::new(),
                    reason: error.reason,
                }),
            }
        }
        problems.extend(declared_twice(&resources));
        if !problems.is_empty() {
            return Err(Problems(problems).into());
        }
        ensure!(!resources.is_empty(), "the files declare nothing");
        resources.sort_by_key(|resource| resource.kind);
        Ok(Declared { resources })
    }
}

/// A list at the top stands for the documents in it, as JSON has no other way to write several.
fn elements(node: Node) -> Vec<Node> {
    match node.content {
        document::Content::List(elements) => elements,
        _ => vec![node],
    }
}

fn of_document(path: &Path, file: &str, node: Node) -> Result<Vec<Resource>, Vec<Problem>> {
    if node.get(KIND).is_none() && node.get("services").is_some() {
        let folder = folder_of(path);
        let variables = compose::Variables::of(&folder).map_err(|reason| {
            vec![Problem {
                place: Place {
                    file: file.to_owned(),
                    line: node.line,
                },
                subject: String::new(),
                member: String::new(),
                reason,
            }]
        })?;
        return compose::read(file, &folder, &variables, &node);
    }
    Ok(vec![Resource::of_document(file, node)?])
}

/// The folder that a file's paths are relative to.
fn folder_of(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if path != Path::new(STANDARD_INPUT) && folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned())
}

/// The files that are meant, those of folders in the order of their names.
fn paths(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut paths = vec![];
    for path in given {
        if !path.is_dir() {
            paths.push(path.clone());
            continue;
        }
        let unreadable = || format!("cannot read the folder {}", path.display());
        let mut found = vec![];
        for entry in std::fs::read_dir(path).with_context(unreadable)? {
            let entry = entry.with_context(unreadable)?.path();
            let is_hidden = entry
                .file_name()
                .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            let ending = entry.extension().and_then(|ending| ending.to_str());
            if entry.is_file() && !is_hidden && ending.is_some_and(|ending| ENDINGS.contains(&ending)) {
                found.push(entry);
            }
        }
        if found.is_empty() {
            bail!(
                "the folder {} has no file that ends in .yaml, .yml or .json",
                path.display()
            );
        }
        found.sort();
        paths.extend(found);
    }
    Ok(paths)
}

fn text_of(path: &Path) -> Result<String> {
    let mut text = String::new();
    let read = if path == Path::new(STANDARD_INPUT) {
        std::io::stdin().take(MAX_BYTES + 1).read_to_string(&mut text)
    } else {
        let file = std::fs::File::open(path);
        file.and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
    };
    let bytes = read.with_context(|| format!("cannot read {}", path.display()))?;
    ensure!(
        bytes as u64 <= MAX_BYTES,
        "{} is larger than {} MiB",
        path.display(),
        MAX_BYTES >> 20
    );
    Ok(text)
}

/// Things that are declared again: which of them is wanted could not be told.
fn declared_twice(resources: &[Resource]) -> Vec<Problem> {
    let mut first: BTreeMap<(Kind, Option<&str>, &str), &Place> = BTreeMap::new();
    let mut problems = vec![];
    for resource in resources {
        let has_cluster = matches!(resource.kind, Kind::Service | Kind::Daemon);
        let cluster = has_cluster.then(|| resource.cluster()).flatten();
        let key = (resource.kind, cluster, resource.name.as_str());
        match first.get(&key) {
            Some(place) => problems.push(resource.problem("", format!("is declared twice, first in {place}"))),
            None => _ = first.insert(key, &resource.place),
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(folder: &Path) -> Result<Declared> {
        let arguments = FileArguments {
            files: vec![folder.to_owned()],
        };
        arguments.read()
    }

    #[test]
    fn folder_stands_for_its_files_and_everything_is_in_the_order_of_making() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write(
            "a.yaml",
            "kind: Service\nserviceName: web\n---\nkind: Cluster\nclusterName: shop\n",
        );
        write(
            "b.json",
            r#"[{"kind": "CapacityProvider", "name": "gpu", "autoScalingGroupProvider": {"autoScalingGroupArn": "gpu"}}]"#,
        );
        write(".c.yaml", "kind: Nonsense\n");
        write("d.txt", "kind: Nonsense\n");
        let subjects: Vec<String> = read(folder.path())
            .expect("valid")
            .resources
            .iter()
            .map(Resource::subject)
            .collect();
        assert_eq!(subjects, ["capacity provider gpu", "cluster shop", "service web"]);
    }

    #[test]
    fn problems_of_all_files_are_told_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("written");
        write("a.yaml", "kind: Service\nserviceName: web\ndesiredCont: 2\n");
        write("b.yaml", "kind: Cluster\nclusterName: [\n");
        write(
            "c.yaml",
            "kind: Cluster\nclusterName: shop\n---\nkind: Cluster\nclusterName: shop\n",
        );
        let error = read(folder.path()).expect_err("refused").to_string();
        assert!(error.starts_with("nothing was changed"), "{error}");
        assert!(error.contains("a.yaml:3: service web: desiredCont: CreateServiceRequest has no member of this name; did you mean desiredCount?"), "{error}");
        assert!(error.contains("b.yaml:"), "{error}");
        assert!(
            error.contains("c.yaml:4: cluster shop: is declared twice, first in ") && error.contains("c.yaml:1"),
            "{error}"
        );
    }

    #[test]
    fn folder_without_files_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(
            read(folder.path())
                .expect_err("refused")
                .to_string()
                .contains("has no file that ends in")
        );
    }
}
