//! Members of a task definition that ask for nothing, such as `privileged: false` or an empty `linuxParameters`: kept as they were given,
//! since clients compare what they are shown with what they registered. Pure.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// A member of the request that is shown elsewhere.
const TAGS: &str = "tags";

/// The members that are in the request and not in `shown`, as JSON; empty if there are none.
pub(super) fn of(request: &impl Serialize, shown: &impl Serialize) -> String {
    let (Ok(Value::Object(mut request)), Ok(shown)) = (serde_json::to_value(request), serde_json::to_value(shown))
    else {
        return String::new();
    };
    request.remove(TAGS);
    difference(&Value::Object(request), &shown).map_or_else(String::new, |more| more.to_string())
}

/// `shown` with the members that [`of`] kept.
pub(in crate::api::ecs) fn add<T: Serialize + DeserializeOwned>(shown: T, also_given: &str) -> T {
    let (Ok(more), Ok(mut whole)) = (serde_json::from_str(also_given), serde_json::to_value(&shown)) else {
        return shown;
    };
    merge(&mut whole, more);
    serde_json::from_value(whole).unwrap_or(shown)
}

/// What `given` has and `shown` has not; in lists, an empty structure where nothing is missing.
fn difference(given: &Value, shown: &Value) -> Option<Value> {
    match (given, shown) {
        (Value::Object(given), Value::Object(shown)) => {
            let missing = given.iter().filter_map(|(name, value)| {
                let missing = match shown.get(name) {
                    Some(shown) => difference(value, shown)?,
                    None => value.clone(),
                };
                Some((name.clone(), missing))
            });
            let missing: Map<String, Value> = missing.collect();
            (!missing.is_empty()).then_some(Value::Object(missing))
        }
        (Value::Array(given), Value::Array(shown)) if given.len() == shown.len() => {
            let missing: Vec<Option<Value>> = given.iter().zip(shown).map(|(g, s)| difference(g, s)).collect();
            let any = missing.iter().any(Option::is_some);
            let nothing = || Value::Object(Map::new());
            any.then(|| missing.into_iter().map(|m| m.unwrap_or_else(nothing)).collect())
        }
        _ => None,
    }
}

fn merge(whole: &mut Value, more: Value) {
    match (whole, more) {
        (Value::Object(whole), Value::Object(more)) => {
            for (name, value) in more {
                match whole.get_mut(&name) {
                    Some(known) => merge(known, value),
                    None => _ = whole.insert(name, value),
                }
            }
        }
        (Value::Array(whole), Value::Array(more)) => {
            for (known, value) in whole.iter_mut().zip(more) {
                merge(known, value);
            }
        }
        _ => {}
    }
}
