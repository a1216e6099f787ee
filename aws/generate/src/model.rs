//! The part of botocore's model format that the generator reads.
//!
//! Owns parsing and the choice of shapes that the chosen operations reach. Reads files; knows nothing of Rust code.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::services::{Config, Operations, Source};

/// A service model.
#[derive(Debug, Deserialize)]
pub(crate) struct Model {
    pub(crate) metadata: Metadata,
    pub(crate) operations: BTreeMap<String, Operation>,
    pub(crate) shapes: BTreeMap<String, Shape>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) api_version: String,
    pub(crate) endpoint_prefix: String,
    pub(crate) signing_name: Option<String>,
    pub(crate) protocol: String,
    /// All that clients may speak; models that say nothing have one.
    #[serde(default)]
    pub(crate) protocols: Vec<String>,
    /// There for services whose clients spoke query before, and know errors by the codes of that.
    pub(crate) aws_query_compatible: Option<serde_json::Value>,
    pub(crate) json_version: Option<String>,
    #[serde(default)]
    pub(crate) target_prefix: String,
    #[serde(default)]
    pub(crate) xml_namespace: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) input: Option<Reference>,
    pub(crate) output: Option<Reference>,
    #[serde(default)]
    pub(crate) errors: Vec<Reference>,
    #[serde(default)]
    pub(crate) readonly: bool,
}

/// A use of a shape.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reference {
    pub(crate) shape: String,
    pub(crate) location_name: Option<String>,
    pub(crate) result_wrapper: Option<String>,
    #[serde(default)]
    pub(crate) flattened: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Shape {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// In the model's order.
    #[serde(deserialize_with = "in_order")]
    pub(crate) members: Vec<(String, Reference)>,
    pub(crate) required: BTreeSet<String>,
    pub(crate) member: Option<Reference>,
    pub(crate) key: Option<Reference>,
    pub(crate) value: Option<Reference>,
    #[serde(rename = "enum")]
    pub(crate) values: Vec<String>,
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    pub(crate) pattern: Option<String>,
    pub(crate) flattened: bool,
    pub(crate) sensitive: bool,
    pub(crate) union: bool,
    pub(crate) document: bool,
    pub(crate) fault: bool,
    pub(crate) error: Option<ErrorTrait>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorTrait {
    pub(crate) code: Option<String>,
    pub(crate) http_status_code: Option<u16>,
}

impl Shape {
    /// Every shape that this one uses directly.
    pub(crate) fn uses(&self) -> impl Iterator<Item = &str> {
        let members = self.members.iter().map(|(_, reference)| reference);
        let others = [&self.member, &self.key, &self.value].into_iter().flatten();
        members.chain(others).map(|reference| reference.shape.as_str())
    }
}

impl Model {
    /// Reads a model and keeps the configured operations and the shapes that they reach.
    pub(crate) fn load(config: &Config, botocore: &Path, own: &Path) -> Result<Self> {
        let path = match config.source {
            Source::Botocore(folder) => existing(&botocore.join(folder))?,
            Source::Own(folder) => existing(&own.join(folder))?,
        };
        let mut model: Self = read(&path).with_context(|| format!("cannot read the model {}", path.display()))?;
        if let Operations::Only(names) = config.operations {
            for name in names {
                if !model.operations.contains_key(*name) {
                    bail!("the model {} has no operation {name}", path.display());
                }
            }
            model.operations.retain(|name, _| names.contains(&name.as_str()));
        }
        model.keep_reachable()?;
        Ok(model)
    }

    /// The errors that any operation declares.
    pub(crate) fn errors(&self) -> BTreeSet<&str> {
        self.operations
            .values()
            .flat_map(|operation| &operation.errors)
            .map(|error| error.shape.as_str())
            .collect()
    }

    /// The shape of this name.
    pub(crate) fn shape(&self, name: &str) -> Result<&Shape> {
        self.shapes
            .get(name)
            .with_context(|| format!("the model has no shape {name}"))
    }

    fn keep_reachable(&mut self) -> Result<()> {
        let mut reached = BTreeSet::new();
        let sides = self
            .operations
            .values()
            .flat_map(|operation| [&operation.input, &operation.output]);
        let mut open: Vec<String> = sides.flatten().map(|reference| reference.shape.clone()).collect();
        while let Some(name) = open.pop() {
            if reached.insert(name.clone()) {
                open.extend(self.shape(&name)?.uses().map(str::to_owned));
            }
        }
        let errors: BTreeSet<String> = self.errors().into_iter().map(str::to_owned).collect();
        self.shapes
            .retain(|name, _| reached.contains(name) || errors.contains(name));
        for (name, shape) in &mut self.shapes {
            if !reached.contains(name) {
                // An error's code and status are all that is generated of it.
                shape.kind = "error".to_owned();
            }
        }
        Ok(())
    }
}

/// Reads a JSON object as pairs, in the order in which it is written.
fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(String, Reference)>, D::Error> {
    struct Pairs;

    impl<'de> Visitor<'de> for Pairs {
        type Value = Vec<(String, Reference)>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("an object of members")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut pairs = Vec::new();
            while let Some(pair) = map.next_entry()? {
                pairs.push(pair);
            }
            Ok(pairs)
        }
    }

    deserializer.deserialize_map(Pairs)
}

fn existing(folder: &Path) -> Result<PathBuf> {
    let candidates = [folder.join("service-2.json"), folder.join("service-2.json.gz")];
    match candidates.into_iter().find(|path| path.exists()) {
        Some(path) => Ok(path),
        None => bail!(
            "no service-2.json or service-2.json.gz in {}; give botocore's data folder with --models",
            folder.display()
        ),
    }
}

fn read(path: &Path) -> Result<Model> {
    let bytes = std::fs::read(path)?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        let mut text = String::new();
        flate2::read::GzDecoder::new(bytes.as_slice()).read_to_string(&mut text)?;
        return Ok(serde_json::from_str(&text)?);
    }
    Ok(serde_json::from_slice(&bytes)?)
}
