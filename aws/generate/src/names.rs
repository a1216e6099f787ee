//! How names of the models become names in Rust.
//!
//! Pure.

/// Splits `containerInstanceARNs`, `EC2_CLASSIC` or `s3BucketName` into lower-case words.
pub(crate) fn words(name: &str) -> Vec<String> {
    let characters: Vec<char> = name.chars().collect();
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    for (at, &character) in characters.iter().enumerate() {
        if !character.is_ascii_alphanumeric() {
            words.push(std::mem::take(&mut word));
            continue;
        }
        let after_lower = at > 0 && !characters[at - 1].is_ascii_uppercase();
        let before_lower = characters.get(at + 1).is_some_and(char::is_ascii_lowercase);
        // `ARNs` is one word: a lone plural s does not begin one.
        let plural = characters.get(at + 1) == Some(&'s')
            && characters.get(at + 2).is_none_or(|next| !next.is_ascii_lowercase());
        if character.is_ascii_uppercase() && (after_lower || (before_lower && !plural)) {
            words.push(std::mem::take(&mut word));
        }
        word.push(character.to_ascii_lowercase());
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

/// `clusterName` -> `cluster_name`, made a raw identifier if it is a keyword.
pub(crate) fn field(name: &str) -> String {
    let snake = words(name).join("_");
    match snake.as_str() {
        "type" | "in" | "match" | "ref" | "use" | "where" | "for" | "loop" | "move" | "static" | "const" | "enum"
        | "struct" | "async" | "await" | "dyn" | "impl" | "mod" | "pub" | "trait" | "return" | "if" | "else"
        | "while" | "break" | "continue" | "fn" | "let" | "mut" | "true" | "false" | "abstract" | "final"
        | "override" | "virtual" | "do" | "try" | "yield" => format!("r#{snake}"),
        "self" | "super" | "crate" => format!("{snake}_"),
        _ => snake,
    }
}

/// `ClusterNotFoundException` -> `CLUSTER_NOT_FOUND_EXCEPTION`.
pub(crate) fn screaming(name: &str) -> String {
    words(name).join("_").to_uppercase()
}

/// `awsvpc` -> `Awsvpc`, `FARGATE_SPOT` -> `FargateSpot`; a leading digit gets a `V`.
pub(crate) fn variant(value: &str) -> String {
    // An all-capitals value is split at its separators only.
    let shouting = !value.chars().any(|character| character.is_ascii_lowercase());
    let parts = if shouting {
        words(&value.to_lowercase())
    } else {
        words(value)
    };
    let mut name = String::new();
    for part in parts {
        let mut letters = part.chars();
        if let Some(first) = letters.next() {
            name.push(first.to_ascii_uppercase());
            name.extend(letters);
        }
    }
    if name.is_empty() {
        return "Empty".to_owned();
    }
    if name.starts_with(|first: char| first.is_ascii_digit()) || name == "Self" {
        name.insert(0, 'V');
    }
    name
}

/// The type of a shape: its name with a capital, apart from those of the prelude that generated code uses.
pub(crate) fn type_name(shape: &str) -> String {
    let mut letters = shape.chars();
    let capital: String = letters
        .next()
        .map(|first| first.to_ascii_uppercase())
        .into_iter()
        .chain(letters)
        .collect();
    match capital.as_str() {
        "Option" | "String" | "Vec" | "Box" | "BTreeMap" | "Timestamp" | "Blob" | "Document" | "Empty" | "Value" => {
            format!("{capital}Shape")
        }
        _ => capital,
    }
}

/// A string as a Rust literal.
pub(crate) fn literal(text: &str) -> String {
    format!("{text:?}")
}

/// What serde's `rename_all = "camelCase"` makes of a field's name.
pub(crate) fn serde_camel(field: &str) -> String {
    let mut name = String::new();
    for (at, part) in field.trim_start_matches("r#").split('_').enumerate() {
        let mut letters = part.chars();
        match letters.next() {
            Some(first) if at > 0 => name.push(first.to_ascii_uppercase()),
            Some(first) => name.push(first),
            None => {}
        }
        name.extend(letters);
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_mixed_names_become_snake_case() {
        let cases = [
            ("clusterName", "cluster_name"),
            ("containerInstanceARNs", "container_instance_arns"),
            ("ec2InstanceId", "ec2_instance_id"),
            ("UserId", "user_id"),
            ("type", "r#type"),
            ("kmsKeyARN", "kms_key_arn"),
            ("awsvpcConfiguration", "awsvpc_configuration"),
        ];
        for (name, expected) in cases {
            assert_eq!(field(name), expected, "{name}");
        }
    }

    #[test]
    fn variant_values_become_pascal_case() {
        let cases = [
            ("FARGATE_SPOT", "FargateSpot"),
            ("awsvpc", "Awsvpc"),
            ("distinctInstance", "DistinctInstance"),
            ("", "Empty"),
            ("1.2", "V12"),
        ];
        for (value, expected) in cases {
            assert_eq!(variant(value), expected, "{value}");
        }
    }
}
