//! Values of Compose files: times, sizes, CPUs, commands. Pure.

/// Units of times, in microseconds.
const TIMES: [(&str, u64); 6] = [
    ("us", 1),
    ("ms", 1_000),
    ("s", 1_000_000),
    ("m", 60_000_000),
    ("h", 3_600_000_000),
    ("d", 86_400_000_000),
];

/// A time such as `1m30s`, in whole seconds, which is what ECS has.
///
/// # Errors
/// If it is no time, or has parts of seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no time such as 90s or 1m30s");
    let (mut micros, mut rest) = (0_u64, text.trim());
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = TIMES
            .iter()
            .find(|(name, _)| *name == &rest[..letters])
            .ok_or_else(wrong)?;
        let part = number.checked_mul(unit.1).and_then(|part| micros.checked_add(part));
        micros = part.ok_or_else(wrong)?;
        rest = &rest[letters..];
    }
    match micros % 1_000_000 {
        0 => Ok(micros / 1_000_000),
        _ => Err(format!("{text:?} has parts of seconds, and ECS has whole seconds")),
    }
}

/// A size such as `64M` or `1gb`, in MiB, rounded up.
///
/// # Errors
/// If it is no size.
pub(super) fn mebibytes(text: &str) -> Result<u64, String> {
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(lower.len());
    let unit: u64 = match &lower[digits..] {
        "" | "b" => 1,
        "k" | "kb" => 1 << 10,
        "m" | "mb" => 1 << 20,
        "g" | "gb" => 1 << 30,
        _ => return Err(format!("{text:?} is no size such as 64M or 1G")),
    };
    let bytes = thousandths(&lower[..digits]).and_then(|number| number.checked_mul(unit));
    let bytes = bytes.ok_or_else(|| format!("{text:?} is no size such as 64M or 1G"))?;
    Ok(bytes.div_ceil(1_000 << 20))
}

/// CPUs such as `0.5`, in CPU units.
///
/// # Errors
/// If it is no number of CPUs.
pub(super) fn cpu_units(text: &str) -> Result<u64, String> {
    let thousandths = thousandths(text.trim()).and_then(|number| number.checked_mul(1_024));
    let units = thousandths.map(|number| (number + 500) / 1_000);
    units.ok_or_else(|| format!("{text:?} is no number of CPUs such as 0.5"))
}

/// A decimal number with at most three digits after the point, times a thousand.
fn thousandths(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if text.is_empty() || text == "." || fraction.len() > 3 || !is_number(whole) || !is_number(fraction) {
        return None;
    }
    let padded = format!("{}{fraction:0<3}", if whole.is_empty() { "0" } else { whole });
    padded.parse().ok()
}

/// The words of a command line, with quotes and backslashes as shells have them.
///
/// # Errors
/// If a quote does not end.
pub(super) fn words(text: &str) -> Result<Vec<String>, String> {
    let (mut words, mut word) = (vec![], None::<String>);
    let mut characters = text.chars();
    let unended = || format!("a quote does not end in {text:?}");
    while let Some(c) = characters.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or_else(unended)? {
                        '\'' => break,
                        other => word.push(other),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match characters.next().ok_or_else(unended)? {
                        '"' => break,
                        '\\' => match characters.next().ok_or_else(unended)? {
                            escaped @ ('"' | '\\' | '$' | '`') => word.push(escaped),
                            other => word.extend(['\\', other]),
                        },
                        other => word.push(other),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(characters.next()),
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_whole_seconds() {
        assert_eq!(
            (seconds("1m30s"), seconds("2h"), seconds("1000ms")),
            (Ok(90), Ok(7_200), Ok(1))
        );
        for text in ["", "5", "x", "1.5s", "1w"] {
            assert!(seconds(text).is_err(), "{text}");
        }
        assert!(
            seconds("1500ms")
                .expect_err("half a second")
                .contains("parts of seconds")
        );
    }

    #[test]
    fn sizes_are_rounded_up_to_mebibytes() {
        assert_eq!(
            (
                mebibytes("64M"),
                mebibytes("0.5gb"),
                mebibytes("1"),
                mebibytes("1048577b")
            ),
            (Ok(64), Ok(512), Ok(1), Ok(2))
        );
        for text in ["", "M", "64MiB", "x", "1.0005g"] {
            assert!(mebibytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cpus_are_units_of_a_1024th() {
        assert_eq!(
            (cpu_units("0.5"), cpu_units("2"), cpu_units(".25")),
            (Ok(512), Ok(2_048), Ok(256))
        );
        assert!(cpu_units("half").is_err());
    }

    #[test]
    fn command_lines_are_split_as_shells_do() {
        let expected = ["sh", "-c", "echo \"$HOME\" 'x'", "a b", ""];
        assert_eq!(
            words(r#"sh -c "echo \"\$HOME\" 'x'" a\ b ''"#).expect("words"),
            expected
        );
        assert!(words("sh -c 'x").is_err());
    }
}
