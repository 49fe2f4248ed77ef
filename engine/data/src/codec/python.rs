//! What chat templates expect of Python: `json.dumps`, `repr`, `str` of a float and `strftime`.
//!
//! Templates are written for the Python implementation of Jinja; their output becomes training text,
//! so spaces after a comma and the form of a float matter.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// A JSON value as a template sees it.
pub(super) fn to_template_value(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(flag) => Value::from(*flag),
        serde_json::Value::Number(number) => {
            if let Some(whole) = number.as_i64() {
                Value::from(whole)
            } else if let Some(whole) = number.as_u64() {
                Value::from(whole)
            } else {
                Value::from(number.as_f64().unwrap_or(f64::NAN))
            }
        }
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => Value::from(items.iter().map(to_template_value).collect::<Vec<_>>()),
        serde_json::Value::Object(map) => {
            Value::from_pairs(map.iter().map(|(key, item)| (key.as_str(), to_template_value(item))))
        }
    }
}

/// The `tojson` filter of transformers: `json.dumps(x, ensure_ascii=False, indent=..., sort_keys=...)`,
/// without the escaping for web pages that Jinja's own filter does.
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let _ensure_ascii: Option<bool> = options.get("ensure_ascii")?;
    let indent: Option<usize> = options.get("indent")?;
    let sort_keys: Option<bool> = options.get("sort_keys")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    options.assert_all_used()?;
    let (comma, colon) = match separators.as_deref() {
        Some([comma, colon]) => (comma.clone(), colon.clone()),
        _ if indent.is_some() => (",".to_owned(), ": ".to_owned()),
        _ => (", ".to_owned(), ": ".to_owned()),
    };
    let writer = JsonWriter { indent, sort_keys: sort_keys.unwrap_or(false), comma, colon };
    let mut out = String::new();
    writer.write(value, 0, &mut out)?;
    Ok(out)
}

struct JsonWriter {
    indent: Option<usize>,
    sort_keys: bool,
    comma: String,
    colon: String,
}

impl JsonWriter {
    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = self.indent {
            out.push('\n');
            out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        match value.kind() {
            ValueKind::Undefined | ValueKind::None => out.push_str("null"),
            ValueKind::Bool => out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => out.push_str(&number_text(value)),
            ValueKind::String => quote_json(value.as_str().unwrap_or_default(), out),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push_str(&self.comma);
                    }
                    self.line(depth + 1, out);
                    self.write(item, depth + 1, out)?;
                }
                if !items.is_empty() {
                    self.line(depth, out);
                }
                out.push(']');
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort_by_key(ToString::to_string);
                }
                out.push('{');
                for (index, key) in keys.iter().enumerate() {
                    if index > 0 {
                        out.push_str(&self.comma);
                    }
                    self.line(depth + 1, out);
                    match key.kind() {
                        ValueKind::String => quote_json(key.as_str().unwrap_or_default(), out),
                        ValueKind::Bool => quote_json(if key.is_true() { "true" } else { "false" }, out),
                        ValueKind::None => quote_json("null", out),
                        _ => quote_json(&number_text(key), out),
                    }
                    out.push_str(&self.colon);
                    self.write(&value.get_item(key)?, depth + 1, out)?;
                }
                if !keys.is_empty() {
                    self.line(depth, out);
                }
                out.push('}');
            }
            other => {
                return Err(Error::new(ErrorKind::BadSerialization, format!("a {other} cannot be written as JSON")));
            }
        }
        Ok(())
    }
}

fn quote_json(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

fn number_text(value: &Value) -> String {
    if value.is_integer() {
        value.to_string()
    } else {
        f64::try_from(value.clone()).map_or_else(|_error| value.to_string(), float_repr)
    }
}

/// `repr` of a Python float: the shortest digits that read back, plain between 1e-4 and 1e16.
pub(super) fn float_repr(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { format!("{plain}.0") };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// `repr` of a list or dictionary, as `{{ value }}` prints it in Python.
pub(super) fn repr(value: &Value, out: &mut String) {
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
            out.push(quote);
            for c in text.chars() {
                match c {
                    '\\' => out.push_str("\\\\"),
                    '\n' => out.push_str("\\n"),
                    '\r' => out.push_str("\\r"),
                    '\t' => out.push_str("\\t"),
                    c if c == quote => {
                        out.push('\\');
                        out.push(c);
                    }
                    c if (c as u32) < 0x20 => out.push_str(&format!("\\x{:02x}", c as u32)),
                    c => out.push(c),
                }
            }
            out.push(quote);
        }
        ValueKind::Number => out.push_str(&number_text(value)),
        ValueKind::Seq | ValueKind::Iterable => {
            out.push('[');
            for (index, item) in value.try_iter().into_iter().flatten().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(&item, out);
            }
            out.push(']');
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter().into_iter().flatten().enumerate() {
                if index > 0 {
                    out.push_str(", ");
                }
                repr(&key, out);
                out.push_str(": ");
                repr(&value.get_item(&key).unwrap_or_default(), out);
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
}

/// The date that templates see as "today". Fixed, so that the same data gives the same tokens on every
/// day; the default is the date that Llama 3.1's own template falls back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct TemplateDate {
    /// Year.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u32,
    /// Day, 1 to 31.
    pub day: u32,
}

impl Default for TemplateDate {
    fn default() -> Self {
        Self { year: 2024, month: 7, day: 26 }
    }
}

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

impl TemplateDate {
    /// `strftime` at midnight of this date, for the directives that templates use; others stay as they are.
    pub(super) fn strftime(self, format: &str) -> String {
        let month = MONTHS.get((self.month.clamp(1, 12) - 1) as usize).copied().unwrap_or_default();
        let weekday = DAYS.get(self.weekday()).copied().unwrap_or_default();
        let mut out = String::new();
        let mut chars = format.chars().peekable();
        while let Some(c) = chars.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let plain = chars.next_if_eq(&'-').is_some();
            let two = |number: u32| if plain { number.to_string() } else { format!("{number:02}") };
            match chars.next() {
                Some('d') => out.push_str(&two(self.day)),
                Some('e') => out.push_str(&format!("{:2}", self.day)),
                Some('m') => out.push_str(&two(self.month)),
                Some('Y') => out.push_str(&self.year.to_string()),
                Some('y') => out.push_str(&two(self.year.rem_euclid(100).unsigned_abs())),
                Some('B') => out.push_str(month),
                Some('b' | 'h') => out.extend(month.chars().take(3)),
                Some('A') => out.push_str(weekday),
                Some('a') => out.extend(weekday.chars().take(3)),
                Some('F') => out.push_str(&format!("{}-{:02}-{:02}", self.year, self.month, self.day)),
                Some('H' | 'M' | 'S') => out.push_str(&two(0)),
                Some('I') => out.push_str("12"),
                Some('p') => out.push_str("AM"),
                Some('%') => out.push('%'),
                Some(other) => {
                    out.push('%');
                    out.push(other);
                }
                None => out.push('%'),
            }
        }
        out
    }

    /// Day of the week, 0 is Sunday (Sakamoto's method).
    fn weekday(self) -> usize {
        const SHIFT: [i32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let month = self.month.clamp(1, 12);
        let year = if month < 3 { self.year - 1 } else { self.year };
        let shift = SHIFT.get((month - 1) as usize).copied().unwrap_or(0);
        let sum = year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + shift;
        (sum + self.day.min(31) as i32).rem_euclid(7) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_python_prints_them() {
        let cases = [
            (1.0, "1.0"),
            (0.1, "0.1"),
            (1e16, "1e+16"),
            (1e15, "1000000000000000.0"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (1.5e300, "1.5e+300"),
            (0.0, "0.0"),
        ];
        for (value, text) in cases {
            assert_eq!(float_repr(value), text);
        }
    }

    #[test]
    fn dates_print_as_templates_want_them() {
        let date = TemplateDate::default();
        assert_eq!(date.strftime("%d %b %Y"), "26 Jul 2024");
        assert_eq!(date.strftime("%A, %B %-d, %y %H:%M %% %q"), "Friday, July 26, 24 00:00 % %q");
        assert_eq!(TemplateDate { year: 2000, month: 2, day: 29 }.strftime("%a"), "Tue");
        assert_eq!(TemplateDate { year: 2024, month: 3, day: 5 }.strftime("%-d/%-m %F"), "5/3 2024-03-05");
    }

    #[test]
    fn lists_print_as_python_prints_them() {
        let value = to_template_value(&serde_json::json!({"a": [1, 2.0, true, null, "it's", "\"'"]}));
        let mut text = String::new();
        repr(&value, &mut text);
        assert_eq!(text, r#"{'a': [1, 2.0, True, None, "it's", '"\'']}"#);
    }
}
