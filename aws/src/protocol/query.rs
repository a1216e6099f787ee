//! awsQuery: forms in, XML out.
//!
//! Owns how structures, lists and maps are spelled in the names of form fields, and the XML of answers. Pure.

use std::collections::{BTreeMap, BTreeSet};

use quick_xml::events::{BytesEnd, BytesStart, BytesText, Event};
use quick_xml::writer::Writer;
use serde_json::{Map, Number, Value};

use crate::error::{AwsError, common};
use crate::model::{Kind, OperationModel, Service, Shape};
use crate::scalar::Timestamp;

/// Fields of every form that are no members of the input.
const ENVELOPE: [&str; 2] = ["Action", "Version"];

/// Reads a form into a value by the tables of its shape.
///
/// # Errors
/// `MalformedInput` for a field that is no text of its type; the service's validation error for a field that the shape does not have.
pub(super) fn read(service: &Service, shape: &Shape, body: &[u8]) -> Result<Value, AwsError> {
    let mut fields = BTreeMap::new();
    for (name, value) in form_fields(body)? {
        if fields.contains_key(&name) {
            return Err(common::SERIALIZATION.error(format!("the form has the parameter {name} twice")));
        }
        fields.insert(name, value);
    }
    let mut form = Form {
        fields: &fields,
        used: BTreeSet::new(),
    };
    let value = form.value(shape, "")?.unwrap_or_else(|| Value::Object(Map::new()));
    let unknown = fields
        .keys()
        .find(|name| !form.used.contains(name.as_str()) && !ENVELOPE.contains(&name.as_str()));
    match unknown {
        None => Ok(value),
        Some(name) => Err(service.validation.error(format!(
            "Unknown parameter '{name}': {} has no member of this name",
            shape.name
        ))),
    }
}

/// The decoded fields of a form, in order.
///
/// # Errors
/// `MalformedInput` if the form is not UTF-8 after decoding.
pub(crate) fn form_fields(body: &[u8]) -> Result<Vec<(String, String)>, AwsError> {
    let mut fields = Vec::new();
    for pair in body.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()) {
        let split = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        let (name, value) = (&pair[..split], pair.get(split + 1..).unwrap_or_default());
        fields.push((decode(name)?, decode(value)?));
    }
    Ok(fields)
}

fn decode(text: &[u8]) -> Result<String, AwsError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let hex = text.get(at + 1..at + 3).and_then(|digits| hex::decode(digits).ok());
        match (text[at], hex) {
            (b'%', Some(byte)) => {
                bytes.extend(byte);
                at += 3;
                continue;
            }
            (b'%', None) => {
                return Err(common::SERIALIZATION.error("the form has a % that no two hexadecimal digits follow"));
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(byte),
        }
        at += 1;
    }
    String::from_utf8(bytes).map_err(|_| common::SERIALIZATION.error("the form is not UTF-8"))
}

struct Form<'a> {
    fields: &'a BTreeMap<String, String>,
    used: BTreeSet<&'a str>,
}

impl Form<'_> {
    /// The value of `shape` whose fields' names begin with `name`, if there is any.
    fn value(&mut self, shape: &Shape, name: &str) -> Result<Option<Value>, AwsError> {
        if !name.is_empty() && !self.present(name) {
            return Ok(None);
        }
        match &shape.kind {
            Kind::Structure { members, .. } => {
                let mut object = Map::new();
                for member in *members {
                    if let Some(value) = self.value(member.shape, &joined(name, member.name))? {
                        object.insert(member.name.to_owned(), value);
                    }
                }
                Ok(Some(Value::Object(object)))
            }
            Kind::List {
                element,
                element_name,
                flattened,
                ..
            } => {
                let prefix = if *flattened {
                    name.to_owned()
                } else {
                    joined(name, element_name)
                };
                self.list(element, name, &prefix)
            }
            Kind::Map { key, value, .. } => self.map(key, value, &joined(name, "entry")),
            kind => self.scalar(kind, name),
        }
    }

    fn list(&mut self, element: &Shape, name: &str, prefix: &str) -> Result<Option<Value>, AwsError> {
        // An empty list is sent as the bare name with no text.
        if let Some((used, _)) = self.fields.get_key_value(name) {
            self.used.insert(used);
        }
        let mut elements = Vec::new();
        while let Some(value) = self.value(element, &joined(prefix, &(elements.len() + 1).to_string()))? {
            elements.push(value);
        }
        Ok(Some(Value::Array(elements)))
    }

    fn map(&mut self, key: &Shape, value: &Shape, prefix: &str) -> Result<Option<Value>, AwsError> {
        let mut entries = Map::new();
        let mut number = 1;
        loop {
            let entry = joined(prefix, &number.to_string());
            let Some(Value::String(name)) = self.value(key, &joined(&entry, "key"))? else {
                return Ok(Some(Value::Object(entries)));
            };
            let found = self.value(value, &joined(&entry, "value"))?;
            entries.insert(name, found.unwrap_or(Value::Null));
            number += 1;
        }
    }

    fn scalar(&mut self, kind: &Kind, name: &str) -> Result<Option<Value>, AwsError> {
        let Some((used, text)) = self.fields.get_key_value(name) else {
            return Ok(None);
        };
        self.used.insert(used);
        let value = match kind {
            Kind::Boolean => text.parse().ok().map(Value::Bool),
            Kind::Integer(_) | Kind::Long(_) => text.parse::<i64>().ok().map(Value::from),
            Kind::Double(_) => text.parse::<f64>().ok().and_then(Number::from_f64).map(Value::Number),
            Kind::Timestamp => {
                let time = Timestamp::from_iso8601(text)
                    .map(Timestamp::epoch_seconds)
                    .or_else(|| text.parse().ok());
                time.and_then(Number::from_f64).map(Value::Number)
            }
            _ => Some(Value::String(text.clone())),
        };
        match value {
            Some(value) => Ok(Some(value)),
            None => Err(common::SERIALIZATION.error(format!("{name}: '{text}' has the wrong type"))),
        }
    }

    fn present(&self, name: &str) -> bool {
        let below = format!("{name}.");
        let first = self.fields.range(below.clone()..).next();
        self.fields.contains_key(name) || first.is_some_and(|(found, _)| found.starts_with(&below))
    }
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}

/// The XML of an answer.
///
/// # Errors
/// Says what could not be written.
pub(super) fn write(
    service: &Service,
    operation: &OperationModel,
    output: &Value,
    request_id: &str,
) -> Result<Vec<u8>, String> {
    let mut xml = Xml::new();
    let root = format!("{}Response", operation.name);
    xml.start_in(&root, service.xml_namespace);
    if operation.result_wrapper.is_empty() {
        xml.members(operation.output, output);
    } else {
        xml.start(operation.result_wrapper);
        xml.members(operation.output, output);
        xml.end(operation.result_wrapper);
    }
    xml.start("ResponseMetadata");
    xml.leaf("RequestId", request_id);
    xml.end("ResponseMetadata");
    xml.end(&root);
    xml.finish()
}

/// The XML of an error.
pub(super) fn error_body(namespace: &str, error: &AwsError, request_id: &str) -> Vec<u8> {
    let mut xml = Xml::new();
    xml.start_in("ErrorResponse", namespace);
    xml.start("Error");
    xml.leaf(
        "Type",
        if error.kind.is_sender_fault() {
            "Sender"
        } else {
            "Receiver"
        },
    );
    xml.leaf("Code", error.kind.query_code);
    xml.leaf("Message", &error.message);
    for (name, value) in &error.members {
        xml.leaf(
            name,
            value.as_str().map_or_else(|| value.to_string(), str::to_owned).as_str(),
        );
    }
    xml.end("Error");
    xml.leaf("RequestId", request_id);
    xml.end("ErrorResponse");
    xml.finish().unwrap_or_default()
}

/// Writes XML into memory and keeps the first error.
struct Xml {
    writer: Writer<Vec<u8>>,
    failed: Option<String>,
}

impl Xml {
    fn new() -> Self {
        Self {
            writer: Writer::new(Vec::new()),
            failed: None,
        }
    }

    fn event(&mut self, event: Event<'_>) {
        if let Err(error) = self.writer.write_event(event) {
            self.failed.get_or_insert(error.to_string());
        }
    }

    fn start(&mut self, name: &str) {
        self.start_in(name, "");
    }

    fn start_in(&mut self, name: &str, namespace: &str) {
        let mut start = BytesStart::new(name);
        if !namespace.is_empty() {
            start.push_attribute(("xmlns", namespace));
        }
        self.event(Event::Start(start));
    }

    fn end(&mut self, name: &str) {
        self.event(Event::End(BytesEnd::new(name)));
    }

    fn leaf(&mut self, name: &str, text: &str) {
        self.start(name);
        // XML has no way to write most control characters, escaped or not.
        let clean: String = text
            .chars()
            .filter(|&character| character >= ' ' || matches!(character, '\t' | '\n' | '\r'))
            .collect();
        self.event(Event::Text(BytesText::new(&clean)));
        self.end(name);
    }

    fn members(&mut self, shape: &Shape, value: &Value) {
        let (Kind::Structure { members: known, .. }, Some(object)) = (&shape.kind, value.as_object()) else {
            return;
        };
        for member in *known {
            if let Some(value) = object.get(member.name) {
                self.element(member.name, member.shape, value);
            }
        }
    }

    fn element(&mut self, name: &str, shape: &Shape, value: &Value) {
        match (&shape.kind, value) {
            (
                Kind::List {
                    element,
                    flattened: true,
                    ..
                },
                Value::Array(elements),
            ) => {
                for value in elements {
                    self.element(name, element, value);
                }
                return;
            }
            (Kind::Structure { .. }, _) => {
                self.start(name);
                self.members(shape, value);
            }
            (
                Kind::List {
                    element, element_name, ..
                },
                Value::Array(elements),
            ) => {
                self.start(name);
                for value in elements {
                    self.element(element_name, element, value);
                }
            }
            (Kind::Map { key, value: shape, .. }, Value::Object(entries)) => {
                self.start(name);
                for (name, value) in entries {
                    self.start("entry");
                    self.element("key", key, &Value::String(name.clone()));
                    self.element("value", shape, value);
                    self.end("entry");
                }
            }
            (Kind::Timestamp, Value::Number(seconds)) => {
                let time = Timestamp::from_epoch_seconds(seconds.as_f64().unwrap_or_default());
                return self.leaf(name, &time.iso8601());
            }
            (_, Value::String(text)) => return self.leaf(name, text),
            (_, other) => return self.leaf(name, &other.to_string()),
        }
        self.end(name);
    }

    fn finish(self) -> Result<Vec<u8>, String> {
        match self.failed {
            None => Ok(self.writer.into_inner()),
            Some(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{self as m, Member};

    static TEXT: Shape = m::string("Text");
    static NUMBER: Shape = m::plain("Number", Kind::Integer(m::UNBOUNDED));
    static FLAG: Shape = m::plain("Flag", Kind::Boolean);
    static TIME: Shape = m::plain("Time", Kind::Timestamp);
    static TEXTS: Shape = m::list("Texts", &TEXT);
    static FLAT: Shape = m::list("Flat", &TEXT).elements("member", true);
    static NAMED: Shape = m::list("Named", &TAG).elements("Tag", false);
    static TAG: Shape = m::structure("Tag", &[m::member("Key", &TEXT), m::member("Value", &TEXT)]);
    static LABELS: Shape = m::map("Labels", &TEXT, &NUMBER);
    static MEMBERS: [Member; 7] = [
        m::member("Count", &NUMBER),
        m::member("Force", &FLAG),
        m::member("Since", &TIME),
        m::member("Names", &TEXTS),
        m::member("Flat", &FLAT),
        m::member("Tags", &NAMED),
        m::member("Labels", &LABELS),
    ];
    static INPUT: Shape = m::structure("Input", &MEMBERS);
    static OPERATION: OperationModel = OperationModel {
        name: "Try",
        input: &INPUT,
        output: &INPUT,
        result_wrapper: "TryResult",
        errors: &[],
        read_only: true,
    };

    fn read_form(form: &str) -> Result<Value, AwsError> {
        read(&crate::sts::SERVICE, &INPUT, form.as_bytes())
    }

    fn full() -> Value {
        json!({
            "Count": 7, "Force": true, "Since": 1_512_345_678.123_f64, "Names": ["a b", "c&d"], "Flat": ["x"],
            "Tags": [{"Key": "k", "Value": "v"}, {"Key": "l"}], "Labels": {"one": 1, "two": 2}
        })
    }

    #[test]
    fn read_form_with_lists_and_maps_gives_every_member() {
        let form = "Action=Try&Version=1&Count=7&Force=true&Since=2017-12-04T00%3A01%3A18.123Z&Names.member.1=a+b\
                    &Names.member.2=c%26d&Flat.1=x&Tags.Tag.1.Key=k&Tags.Tag.1.Value=v&Tags.Tag.2.Key=l\
                    &Labels.entry.1.key=one&Labels.entry.1.value=1&Labels.entry.2.key=two&Labels.entry.2.value=2";
        assert_eq!(read_form(form).unwrap(), full());
    }

    #[test]
    fn read_empty_list_is_the_bare_name() {
        assert_eq!(read_form("Names=").unwrap(), json!({"Names": []}));
    }

    #[test]
    fn read_eleven_elements_keep_their_order() {
        let fields: Vec<String> = (1..=11)
            .map(|number| format!("Names.member.{number}={number}"))
            .collect();
        let value = read_form(&fields.join("&")).unwrap();
        assert_eq!(value["Names"][10], "11");
    }

    #[test]
    fn read_gap_in_a_list_or_a_wrong_name_is_refused() {
        for form in [
            "Names.member.1=a&Names.member.3=c",
            "Names.1=a",
            "Tags.Tag.1.Kee=k",
            "Labels.entry.1.valu=1",
        ] {
            assert_eq!(
                read_form(form).unwrap_err().kind.query_code,
                "ValidationError",
                "{form}"
            );
        }
    }

    #[test]
    fn read_repeated_parameter_is_refused() {
        assert_eq!(
            read_form("Count=1&Count=2").unwrap_err().kind.query_code,
            "MalformedInput"
        );
    }

    #[test]
    fn read_text_of_a_wrong_type_names_the_parameter() {
        for (form, name) in [("Count=x", "Count"), ("Force=1", "Force"), ("Since=now", "Since")] {
            let error = read_form(form).unwrap_err();
            assert!(error.message.starts_with(name), "{}", error.message);
        }
    }

    #[test]
    fn write_answer_spells_lists_maps_and_times() {
        let xml = write(&crate::sts::SERVICE, &OPERATION, &full(), "id").unwrap();
        let xml = String::from_utf8(xml).unwrap();
        let expected = "<TryResult><Count>7</Count><Force>true</Force><Since>2017-12-04T00:01:18.123Z</Since>\
                        <Names><member>a b</member><member>c&amp;d</member></Names><Flat>x</Flat>\
                        <Tags><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>l</Key></Tag></Tags>\
                        <Labels><entry><key>one</key><value>1</value></entry><entry><key>two</key><value>2</value></entry></Labels>\
                        </TryResult>";
        assert!(xml.contains(expected), "{xml}");
    }
}
