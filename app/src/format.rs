//! How numbers are written: the same figure looks the same in every room.
//!
//! Thousands have a comma, signs are true, nats have three decimals, sizes are powers of two.

use temper_protocol::named;

/// Stands where a value is not known.
pub const UNKNOWN: &str = "\u{2013}";

/// `4,812`
#[must_use]
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `512`, `41 k`, `4.9 M`, `134.5 M`, `7.0 B`
#[must_use]
pub fn parameters(value: u64) -> String {
    let value = value as f64;
    if value < 1e3 {
        format!("{value:.0}")
    } else if value < 1e5 {
        format!("{:.0} k", value / 1e3)
    } else if value < 1e6 {
        format!("{:.2} M", value / 1e6)
    } else if value < 1e9 {
        format!("{:.1} M", value / 1e6)
    } else {
        format!("{:.1} B", value / 1e9)
    }
}

/// Tokens: `980`, `41,200`, `388 k`, `1.02 M`
#[must_use]
pub fn tokens(value: u64) -> String {
    if value < 100_000 {
        count(value)
    } else if value < 1_000_000 {
        format!("{} k", value / 1000)
    } else {
        format!("{:.2} M", value as f64 / 1e6)
    }
}

/// A loss: `1.386`
#[must_use]
pub fn nats(value: f64) -> String {
    if value.is_finite() { format!("{value:.3}") } else { UNKNOWN.to_owned() }
}

/// A difference of losses: `+0.041`; one too small to be told from none has no sign.
#[must_use]
pub fn signed_nats(value: f64) -> String {
    if !value.is_finite() {
        UNKNOWN.to_owned()
    } else if value.abs() < 0.0005 {
        "0.000".to_owned()
    } else {
        format!("{value:+.3}")
    }
}

/// A size: `412 KiB`, `93 MiB`, `1.6 GiB`
#[must_use]
pub fn bytes(value: u64) -> String {
    mib(value as f64 / (1024.0 * 1024.0))
}

/// A size given in MiB.
#[must_use]
pub fn mib(value: f64) -> String {
    let (number, unit) = mib_parts(value);
    format!("{number} {unit}")
}

/// Number and unit of a size given in MiB.
#[must_use]
pub fn mib_parts(value: f64) -> (String, &'static str) {
    if !value.is_finite() {
        (UNKNOWN.to_owned(), "MiB")
    } else if value < 1.0 {
        (format!("{:.0}", value * 1024.0), "KiB")
    } else if value < 10.0 {
        (format!("{value:.1}"), "MiB")
    } else if value < 1000.0 {
        (format!("{value:.0}"), "MiB")
    } else if value < 102_400.0 {
        (format!("{:.1}", value / 1024.0), "GiB")
    } else {
        (format!("{:.0}", value / 1024.0), "GiB")
    }
}

/// A size in a column of MiB, with as many decimals as a small adapter needs to differ from nothing: `0.009`, `9.3`, `97`
#[must_use]
pub fn mib_figure(mib: f64) -> String {
    match mib {
        10.0.. => count(mib.round() as u64),
        1.0.. => format!("{mib:.1}"),
        0.1.. => format!("{mib:.2}"),
        _ => format!("{mib:.3}"),
    }
}

/// A duration: `0.3 s`, `52 s`, `27 min`, `1 h 05 min`, `2 d 03 h`
#[must_use]
pub fn duration(secs: f64) -> String {
    let (number, unit) = duration_parts(secs);
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

/// Number and unit of a duration; the unit is empty where the number has two of its own.
#[must_use]
pub fn duration_parts(secs: f64) -> (String, &'static str) {
    if !secs.is_finite() || secs < 0.0 {
        return (UNKNOWN.to_owned(), "");
    }
    let whole = secs.round() as u64;
    if secs < 9.95 {
        (format!("{secs:.1}"), "s")
    } else if whole < 100 {
        (whole.to_string(), "s")
    } else if whole < 3600 {
        (((whole + 30) / 60).to_string(), "min")
    } else if whole < 86_400 {
        (format!("{} h {:02} min", whole / 3600, whole % 3600 / 60), "")
    } else {
        (format!("{} d {:02} h", whole / 86_400, whole % 86_400 / 3600), "")
    }
}

/// Joules of a watt-hour.
pub const JOULES_A_WATT_HOUR: f64 = 3600.0;

/// Energy given in joules: `120 J`, `1.7 Wh`, `31 Wh`, `0.12 kWh`
#[must_use]
pub fn energy(joules: f64) -> String {
    let watt_hours = joules / JOULES_A_WATT_HOUR;
    if !watt_hours.is_finite() || watt_hours < 0.0 {
        UNKNOWN.to_owned()
    } else if watt_hours < 0.0995 {
        format!("{joules:.0} J")
    } else if watt_hours < 9.95 {
        format!("{watt_hours:.1} {}", t!("watch-watt-hours"))
    } else if watt_hours < 99.5 {
        format!("{watt_hours:.0} {}", t!("watch-watt-hours"))
    } else if watt_hours < 9950.0 {
        format!("{:.2} kWh", watt_hours / 1000.0)
    } else {
        format!("{:.0} kWh", watt_hours / 1000.0)
    }
}

/// Tokens per second: `7.4`, `410`, `38,400`
#[must_use]
pub fn speed(tokens_per_sec: f64) -> String {
    if !tokens_per_sec.is_finite() || tokens_per_sec <= 0.0 {
        UNKNOWN.to_owned()
    } else if tokens_per_sec < 10.0 {
        format!("{tokens_per_sec:.1}")
    } else if tokens_per_sec < 10_000.0 {
        count(tokens_per_sec.round() as u64)
    } else {
        count((tokens_per_sec / 100.0).round() as u64 * 100)
    }
}

/// A small number such as a learning rate: `2e-4`, `1.7e-4`, `0`
#[must_use]
pub fn rate(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if !value.is_finite() {
        UNKNOWN.to_owned()
    } else if (1e-3..1e4).contains(&value.abs()) {
        plain(value)
    } else {
        format!("{value:e}")
    }
}

/// A learning rate on an axis, two significant digits: `2e-4`, `1.7e-4`, `0`
#[must_use]
pub fn rate_short(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}").replace(".0e", "e") }
}

/// A learning rate in a readout, always as wide: `1.70e-4`
#[must_use]
pub fn rate_wide(value: f64) -> String {
    if value.is_finite() { format!("{value:.2e}") } else { UNKNOWN.to_owned() }
}

/// A number without superfluous digits: `0.05`, `12`, `1.5`
#[must_use]
pub fn plain(value: f64) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    let text = format!("{value:.6}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The setting `key` as a project file says it, written as forms and heads write it: `2e-4`, `0.05`, `1,200`. Seeds,
/// names and words stay as they are.
#[must_use]
pub fn setting(key: &str, text: &str) -> String {
    if key == "name" || key.ends_with("seed") {
        return text.to_owned();
    }
    match (text.parse::<u64>(), text.parse::<f64>()) {
        (Ok(whole), _) => count(whole),
        (Err(_), Ok(number)) if number.is_finite() => rate(number),
        _ => text.to_owned(),
    }
}

/// The whole number that somebody typed, with or without separators of thousands: `412345`, `412,345`, `412.345`
#[must_use]
pub fn whole_number(typed: &str) -> Option<u64> {
    let is_separator = |letter: &char| matches!(letter, ',' | '.' | ' ' | '\u{202f}');
    typed.chars().filter(|letter| !is_separator(letter)).collect::<String>().parse().ok()
}

/// The decimal number that somebody typed: `2e-4`, `0.05`, with a comma instead of the point `0,05`, or with separators of
/// thousands as [`count`] writes them `1,200.5`. What could be read in two ways is thousands where it begins with another
/// digit than zero (`1,200`); what fits neither form is no number.
#[must_use]
pub fn decimal_number(typed: &str) -> Option<f64> {
    let typed = typed.trim();
    let Some((whole, behind)) = typed.split_once(',') else { return typed.parse().ok() };
    let are_digits = |text: &str| text.bytes().all(|letter| letter.is_ascii_digit());
    let is_group = |text: &str| text.len() == 3 && are_digits(text);
    let whole = whole.strip_prefix(['+', '-']).unwrap_or(whole);
    let fraction = behind.split(['e', 'E']).next().unwrap_or(behind);
    if !typed.contains('.') && !behind.contains(',') && (whole == "0" || !is_group(fraction)) {
        return typed.replace(',', ".").parse().ok();
    }
    let (groups, fraction) = behind.split_once('.').unwrap_or((behind, ""));
    let begins = (1..=3).contains(&whole.len()) && are_digits(whole) && !whole.starts_with('0');
    let is_grouped = begins && groups.split(',').all(is_group) && are_digits(fraction);
    if is_grouped { typed.replace(',', "").parse().ok() } else { None }
}

/// How likely chance alone is, behind its letter: `= 0.014`; one that three decimals would call none is `< 0.001`.
#[must_use]
pub fn p_value(p: f64) -> String {
    if !p.is_finite() {
        format!("= {UNKNOWN}")
    } else if p < 0.001 {
        "< 0.001".to_owned()
    } else {
        format!("= {p:.3}")
    }
}

/// A share: `0.4 %`, `61 %`, `99.8 %`, `100 %`
#[must_use]
pub fn percent(share: f64) -> String {
    let value = share * 100.0;
    if !value.is_finite() {
        UNKNOWN.to_owned()
    } else if value == 0.0 || value >= 99.95 || (1.0..99.0).contains(&value) {
        format!("{value:.0} %")
    } else {
        format!("{value:.1} %")
    }
}

/// A text from elsewhere with its figures written as everywhere in the window: whole numbers of five digits and more,
/// and sizes, get commas (years and ports do not), MiB from a thousand on become GiB. Parts of names, decimals,
/// exponents and hashes stay.
#[must_use]
pub fn figures(text: &str) -> String {
    let mut shown = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(start) = rest.find(|letter: char| letter.is_ascii_digit()) {
        let (before, tail) = rest.split_at(start);
        let length = tail.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(tail.len());
        let (digits, after) = tail.split_at(length);
        shown.push_str(before);
        let joined = |letter: char| letter.is_alphanumeric() || "._-+/\\:#,".contains(letter);
        // A sign or a point in front belongs to another kind of number; a point behind may end the sentence.
        let free_before = before.chars().next_back().or_else(|| shown.chars().next_back()).is_none_or(|l| !joined(l));
        let mut following = after.chars();
        let free_after = match following.next() {
            Some('.' | ',' | ':') => following.next().is_none_or(char::is_whitespace),
            Some(letter) => !joined(letter),
            None => true,
        };
        match digits.parse::<u64>() {
            Ok(value) if free_before && free_after => {
                if let Some(behind) = after.strip_prefix(" MiB").filter(|_| value >= 1000) {
                    shown.push_str(&mib(value as f64));
                    rest = behind;
                    continue;
                }
                let counts = after.starts_with(' ') && !after.trim_start().is_empty();
                let grouped = value >= 10_000 || (value >= 1000 && counts);
                shown.push_str(&if grouped { count(value) } else { digits.to_owned() });
            }
            _ => shown.push_str(digits),
        }
        rest = after;
    }
    shown.push_str(rest);
    shown
}

/// The name of a kind of device: `CPU`, `CUDA`, `Metal`.
#[must_use]
pub fn device_kind(kind: &str) -> String {
    match kind {
        "metal" => "Metal".to_owned(),
        "vulkan" => "Vulkan".to_owned(),
        short => short.to_uppercase(),
    }
}

/// How long ago: `just now`, `14 s ago`, `2 h ago`, `3 days ago`
#[must_use]
pub fn ago(then_millis: i64, now_millis: i64) -> String {
    let secs = ((now_millis - then_millis) / 1000).max(0);
    match secs {
        0..=4 => t!("common-just-now").to_owned(),
        5..=89 => t!("common-ago-secs", secs = secs),
        90..=5399 => t!("common-ago-mins", mins = (secs + 30) / 60),
        5400..=129_599 => t!("common-ago-hours", hours = (secs + 1800) / 3600),
        _ => t!("common-ago-days", days = (secs + 43_200) / 86_400),
    }
}

/// A path without the folders in front: the last component, or the whole when there is none.
#[must_use]
pub fn file_name(path: &str) -> &str {
    if path.contains("://") || named::builtin(path).is_some() {
        return path;
    }
    path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().filter(|name| !name.is_empty()).unwrap_or(path)
}

/// A data schema in words.
#[must_use]
pub fn schema_words(schema: &str) -> String {
    match schema {
        "messages" => t!("data-schema-messages").to_owned(),
        "sharegpt" => t!("data-schema-turns").to_owned(),
        "preference" => t!("data-schema-preference").to_owned(),
        "kto" => t!("data-schema-rated").to_owned(),
        "prompt-completion" | "raw-completion" => t!("data-schema-prompts").to_owned(),
        "alpaca" => t!("data-schema-instructions").to_owned(),
        "text" => t!("data-schema-text").to_owned(),
        other => other.to_owned(),
    }
}

/// A container of rows by its own name, as people write it: `jsonl` is JSON Lines. Others stay as they are.
#[must_use]
pub fn container_words(container: &str) -> &str {
    match container {
        "json" => "JSON",
        "jsonl" => t!("data-container-jsonl"),
        "csv" => "CSV",
        "tsv" => "TSV",
        "parquet" => t!("data-container-parquet"),
        other => other,
    }
}

/// The name of a bundled thing without its prefix, or the file's name.
#[must_use]
pub fn plain_name(path: &str) -> String {
    match named::builtin(path) {
        Some(name) => {
            let words = name.replace(['-', '_'], " ");
            let mut letters = words.chars();
            letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
        }
        None => file_name(path).to_owned(),
    }
}

/// A cell of comma-separated values: what would end or split it is quoted.
#[must_use]
pub fn csv_cell(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

/// How far a wait is, with the engine's unit in the language that is spoken.
#[must_use]
pub fn how_far(done: u64, total: u64, unit: &str) -> String {
    match (done, total) {
        (0, 0) => t!("common-length-unknown").to_owned(),
        (done, 0) => format!("{} {}", count(done), unit_words(unit)),
        (done, total) => t!("frame-done-of", done = count(done), total = count(total), unit = unit_words(unit)),
    }
}

/// What the engine counts; one that the window does not know keeps its name.
fn unit_words(unit: &str) -> &str {
    match unit {
        "batches" => t!("frame-unit-batches"),
        "bytes" => t!("frame-unit-bytes"),
        "cases" => t!("frame-unit-cases"),
        "methods" => t!("frame-unit-methods"),
        "prompts" => t!("frame-unit-prompts"),
        "requests" => t!("frame-unit-requests"),
        "rows" => t!("frame-unit-rows"),
        "steps" => t!("frame-unit-steps"),
        "tensors" => t!("frame-unit-tensors"),
        "tokens" => t!("frame-unit-tokens"),
        "trainings" => t!("frame-unit-trainings"),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_have_the_names_that_people_write() {
        assert_eq!(container_words("jsonl"), "JSON Lines");
        assert_eq!(container_words("idx"), "idx", "what is not known stays as it is");
    }

    #[test]
    fn figures_look_as_the_style_says() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(parameters(134_515_008), "134.5 M");
        assert_eq!(parameters(110_592), "0.11 M");
        assert_eq!(tokens(388_123), "388 k");
        assert_eq!(signed_nats(0.0412), "+0.041");
        assert_eq!(signed_nats(-0.007), "-0.007");
        assert_eq!(signed_nats(-0.0003), "0.000");
        let sizes = [0.0088, 0.66, 9.31, 75.2, 1234.0].map(mib_figure);
        assert_eq!(sizes, ["0.009", "0.66", "9.3", "75", "1,234"]);
        assert_eq!(nats(f64::NAN), UNKNOWN);
        assert_eq!(bytes(97_517_568), "93 MiB");
        assert_eq!(mib(1638.4), "1.6 GiB");
        assert_eq!(duration(0.31), "0.3 s");
        assert_eq!(duration(1620.0), "27 min");
        assert_eq!(duration(3900.0), "1 h 05 min");
        assert_eq!(duration(f64::NAN), UNKNOWN);
        assert_eq!(speed(38_412.0), "38,400");
        let energies = [120.0, 6120.0, 111_600.0, 432_000.0, 5.4e7].map(energy);
        assert_eq!(energies, ["120 J", "1.7 Wh", "31 Wh", "0.12 kWh", "15 kWh"]);
        assert_eq!(energy(f64::NAN), UNKNOWN);
        assert_eq!(rate(2e-4), "2e-4");
        assert_eq!(rate(0.05), "0.05");
        assert_eq!(rate_short(1.997_322e-4), "2e-4");
        assert_eq!(rate_short(1.7e-4), "1.7e-4");
        let settings = [
            ("train.lr_peak", "0.0002", "2e-4"),
            ("method.dropout", "0.05", "0.05"),
            ("method.dropout", "0.0", "0"),
            ("train.steps", "1200", "1,200"),
            ("train.seed", "12345", "12345"),
            ("name", "2.50", "2.50"),
            ("train.schedule", "cosine", "cosine"),
            ("data.train", "[\"1.5\"]", "[\"1.5\"]"),
            ("data.cut", "inf", "inf"),
        ];
        for (key, said, shown) in settings {
            assert_eq!(setting(key, said), shown, "{key}");
        }
        assert_eq!(percent(0.9981), "99.8 %");
        assert_eq!(percent(0.61), "61 %");
        assert_eq!(percent(1.0), "100 %");
    }

    #[test]
    fn figures_in_texts_from_elsewhere_look_as_ours() {
        for (text, shown) in [
            ("4096 positions", "4,096 positions"),
            ("8 prompts, 12345 tokens", "8 prompts, 12,345 tokens"),
            ("AVX2, FMA, AVX-512; 21345 MiB free", "AVX2, FMA, AVX-512; 20.8 GiB free"),
            ("412 MiB free", "412 MiB free"),
            ("1.3e-4", "1.3e-4"),
            ("0.00071", "0.00071"),
            ("-830.0 %", "-830.0 %"),
            ("model-00001-of-00002.safetensors, 9f3c71d0 44ae", "model-00001-of-00002.safetensors, 9f3c71d0 44ae"),
            ("layers.12.mlp.up got 100000.", "layers.12.mlp.up got 100,000."),
            ("128 of 210 tensors", "128 of 210 tensors"),
            ("2048", "2048"),
            ("already 4,096 rows", "already 4,096 rows"),
            ("", ""),
        ] {
            assert_eq!(figures(text), shown);
        }
        assert_eq!(device_kind("metal"), "Metal");
        assert_eq!(device_kind("cpu"), "CPU");
    }

    #[test]
    fn whole_numbers_are_read_as_they_are_written_and_as_people_type_them() {
        for number in [0, 7, 999, 1_000, 412_345, u64::MAX] {
            assert_eq!(whole_number(&count(number)), Some(number));
        }
        for typed in ["412345", "412,345", "412.345", " 412 345", "412\u{202f}345"] {
            assert_eq!(whole_number(typed), Some(412_345), "{typed}");
        }
        for typed in ["", " ", "last", "-1", "4e3", "18446744073709551616"] {
            assert_eq!(whole_number(typed), None, "{typed}");
        }
    }

    #[test]
    fn decimal_numbers_are_read_with_point_with_comma_and_with_thousands() {
        for whole in [0, 1, 12, 999, 1_000, 412_345, 12_345_678] {
            for fraction in ["", "5", "25", "125", "0002", "00015"] {
                let behind = |sign: &str| if fraction.is_empty() { String::new() } else { format!("{sign}{fraction}") };
                let value: f64 = format!("{whole}{}", behind(".")).parse().expect("a number");
                // Three digits behind a comma are thousands, unless nothing but zero stands before them.
                let as_comma = match (whole, fraction) {
                    (0, _) => Some(value),
                    (1..=999, "125") => Some(whole as f64 * 1000.0 + 125.0),
                    (_, "125") => None,
                    _ => Some(value),
                };
                for (typed, read) in [
                    (format!("{whole}{}", behind(".")), Some(value)),
                    (format!("{}{}", count(whole), behind(".")), Some(value)),
                    (format!("{whole}{}", behind(",")), as_comma),
                ] {
                    assert_eq!(decimal_number(&typed), read, "{typed}");
                    assert_eq!(decimal_number(&format!(" -{typed}")), read.map(|value| -value), "-{typed}");
                }
            }
        }
        for (typed, value) in [("2e-4", 2e-4), ("2,5e-4", 2.5e-4), ("+1,5", 1.5), (",5", 0.5), ("0,125e1", 1.25)] {
            assert_eq!(decimal_number(typed), Some(value), "{typed}");
        }
        let neither =
            ["", ",", "1,5,0", "1.200,5", "1,20.5", "1,200e2", "0,200,000", "1,,200", "--1,5", "1,5 %", "many"];
        for typed in neither {
            assert_eq!(decimal_number(typed), None, "{typed}");
        }
        for value in [2e-4, 1.7e-4, 0.05, 0.125, 1.5, 1234.5, 1e-9, 3e8] {
            assert_eq!(decimal_number(&rate(value)), Some(value), "as fields show it");
        }
    }

    #[test]
    fn a_small_p_is_not_called_zero() {
        let shown = [0.392, 0.0136, 0.001, 0.000_999, 1e-6, 0.0, f64::NAN].map(p_value);
        assert_eq!(shown, ["= 0.392", "= 0.014", "= 0.001", "< 0.001", "< 0.001", "< 0.001", "= \u{2013}"]);
    }

    #[test]
    fn times_and_names_are_short() {
        assert_eq!(ago(0, 2_000), "just now");
        assert_eq!(ago(0, 14_000), "14 s ago");
        assert_eq!(ago(0, 7_200_000), "2 h ago");
        assert_eq!(ago(0, 3 * 86_400_000), "3 days ago");
        assert_eq!(file_name("/data/tone.jsonl"), "tone.jsonl");
        assert_eq!(file_name("/models/smol/"), "smol");
        assert_eq!(file_name("builtin:starter"), "builtin:starter");
        assert_eq!(plain_name("builtin:starter-data"), "Starter data");
        assert_eq!(plain_name("/a/b.txt"), "b.txt");
    }
}
