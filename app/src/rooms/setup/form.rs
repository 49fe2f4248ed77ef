//! Rows of a form: name, field, price. Values that cannot be read stay in the field with what is wrong.

use crate::format;
use crate::glossary::{self, Term};
use crate::rooms::PanelCtx;
use crate::theme::Type;
use crate::widgets::choice;
use crate::widgets::field::{self, Field};
use crate::widgets::rows::Rows;
use crate::widgets::{term, text};
use egui::{Align, Id, Rect, Ui, pos2, vec2};
use std::path::PathBuf;
use temper_protocol::method::SettingCard;
use temper_protocol::{SettingType, Value};

/// Height of a row.
pub const ROW: f32 = 26.0;
const LABEL: f32 = 86.0;
const FIELD: f32 = 66.0;

/// Name, help and price of a row.
#[derive(Debug, Clone, Copy)]
pub struct Label<'a> {
    /// Name.
    pub name: &'a str,
    /// One sentence of help.
    pub help: &'a str,
    /// Price or unit, behind the field.
    pub note: &'a str,
    /// The term of the glossary that the row is about.
    pub term: Option<&'static Term>,
}

/// A text that a field refused. It stays in the field only as long as the project holds the value that it was meant to
/// replace: after an undo, a preset or in another project it would hide the value of now.
#[derive(Debug, Clone, Default)]
struct Refused {
    text: String,
    /// What is wrong with it.
    wrong: String,
    /// The value that stays.
    value: String,
    /// Folder of the project that it was typed for.
    project: Option<PathBuf>,
}

/// Places of name, field and note. A name too long for its column gets two lines.
fn places(ui: &mut Ui, cx: &PanelCtx<'_>, lines: &mut Rows, label: &Label<'_>, field_width: f32) -> (Rect, Rect) {
    let c = cx.c();
    let width = text::width(ui, label.name, Type::Body);
    let row = if width > LABEL - 4.0 {
        let height = text::block_height(ui, LABEL - 4.0, label.name, Type::Body).max(ROW);
        let row = lines.next(height + 4.0);
        text::block(ui, row.min + vec2(0.0, 2.0), LABEL - 4.0, label.name, Type::Body, c.text2);
        let words = Rect::from_min_size(row.min + vec2(0.0, 2.0), vec2(LABEL - 4.0, height - 4.0));
        term_ui(ui, cx, row, words, label);
        row
    } else {
        let row = lines.next(ROW);
        let name = text::line(ui, row, Align::Min, label.name, Type::Body, c.text2);
        name.on_hover_text(if label.note.is_empty() {
            label.help.to_owned()
        } else {
            format!("{}\n{}", label.help, label.note)
        });
        let words = Rect::from_min_size(pos2(row.left(), row.center().y - 9.0), vec2(width, 18.0));
        term_ui(ui, cx, row, words, label);
        row
    };
    let field = Rect::from_min_size(pos2(row.left() + LABEL, row.center().y - 11.0), vec2(field_width, 22.0));
    let note = Rect::from_min_max(pos2(field.right() + 8.0, row.top()), row.max);
    // A note of several parts loses the last ones where the column is narrow; the tooltip of the name has them all.
    let mut shown = label.note;
    while !shown.is_empty() && text::width(ui, shown, Type::Body) > note.width() {
        shown = shown.rsplit_once(", ").map_or("", |(first, _)| first);
    }
    if !shown.is_empty() {
        text::line(ui, note, Align::Min, shown, Type::Body, c.text3);
    }
    (field, row)
}

/// Marks the name of a row as a term, and lets F1 on its field explain it.
fn term_ui(ui: &mut Ui, cx: &PanelCtx<'_>, row: Rect, words: Rect, label: &Label<'_>) {
    let Some(term) = label.term else { return };
    let tip = if label.note.is_empty() { label.help.to_owned() } else { format!("{}\n{}", label.help, label.note) };
    term::explain(ui, cx.theme, words, term, &tip);
    term::on_focus(ui, row, term);
}

/// A row for a figure; `read` says what is wrong with a text or gives the change it means.
pub fn figure<T>(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    lines: &mut Rows,
    label: &Label<'_>,
    value: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    typed(cx, ui, lines, label, value, true, FIELD, read)
}

/// A row for words; the field fills the row.
pub fn words<T>(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    lines: &mut Rows,
    label: &Label<'_>,
    value: &str,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let width = lines.area.width() - LABEL;
    typed(cx, ui, lines, label, value, false, width, read)
}

#[expect(clippy::too_many_arguments, reason = "the shared body of the two rows above")]
fn typed<T>(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    lines: &mut Rows,
    label: &Label<'_>,
    value: &str,
    figure: bool,
    width: f32,
    read: impl Fn(&str) -> Result<T, String>,
) -> Option<T> {
    let (place, _) = places(ui, cx, lines, label, width);
    let field = Field { figure, tooltip: label.help, ..Field::new(label.name, value) };
    let (change, wrong) = checked(cx, ui, place, field, read);
    if let Some(wrong) = wrong {
        let top = pos2(lines.area.left() + LABEL, lines.y);
        lines.y += text::block(ui, top, lines.area.width() - LABEL, &wrong, Type::Caption, cx.c().err) + 4.0;
    }
    change
}

/// A field whose text is read when it is left. Gives the change, and what is wrong with a text that was refused and stays
/// in the field.
pub fn checked<T>(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    place: Rect,
    field: Field<'_>,
    read: impl Fn(&str) -> Result<T, String>,
) -> (Option<T>, Option<String>) {
    let (name, value) = (field.name, field.value);
    let id = Id::unique(("bad value", ui.scope_id(), name));
    let bad: Option<Refused> = ui.data(|data| data.get_temp(id));
    let is_of_now = |bad: &Refused| bad.value == value && bad.project == cx.state.draft.folder;
    if bad.as_ref().is_some_and(|bad| !is_of_now(bad)) {
        ui.data_mut(|data| data.remove_temp::<Refused>(id));
    }
    let bad = bad.filter(is_of_now);
    let field = match &bad {
        Some(bad) => Field { value: &bad.text, wrong: Some(&bad.wrong), ..field },
        None => field,
    };
    let typed = field::show(ui, cx.theme, place, field);
    let change = typed.committed.and_then(|text| match read(text.trim()) {
        Ok(change) => {
            ui.data_mut(|data| data.remove_temp::<Refused>(id));
            Some(change)
        }
        Err(wrong) => {
            let bad = Refused { text, wrong, value: value.to_owned(), project: cx.state.draft.folder.clone() };
            ui.data_mut(|data| data.insert_temp(id, bad));
            None
        }
    });
    (change, bad.map(|bad| bad.wrong))
}

/// A row of segments, or a list where they do not fit; gives the choice.
pub fn choice(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    lines: &mut Rows,
    label: &Label<'_>,
    choices: &[&str],
    current: &str,
) -> Option<usize> {
    let width = lines.area.width() - LABEL;
    let (place, _) = places(ui, cx, lines, &Label { note: "", ..*label }, width);
    let chosen = choices.iter().position(|choice| *choice == current);
    if choice::segments_width(ui, choices, Type::Body) <= width {
        choice::segments(ui, cx.theme, place, label.name, choices, chosen)
    } else {
        let owned: Vec<String> = choices.iter().map(|choice| (*choice).to_owned()).collect();
        choice::select(ui, cx.theme, place, label.name, &owned, chosen)
    }
}

/// A row with a check box; gives the new state.
pub fn flag(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, label: &Label<'_>, on: bool) -> Option<bool> {
    // The name may use the width of the fields, the box stands at their right edge.
    let row = lines.next(ROW);
    let end = row.left() + LABEL + FIELD;
    let name = row.with_max_x(end - 26.0);
    let words = text::data(ui, name, Align::Min, label.name, Type::Body, cx.c().text2);
    term_ui(ui, cx, row, words.rect, label);
    let place = Rect::from_min_size(pos2(end - 14.0, row.top()), vec2(14.0, ROW));
    let response = choice::check_mark(ui, cx.theme, place, label.name, on);
    let word = Rect::from_min_max(pos2(end + 8.0, row.top()), row.max);
    text::line(ui, word, Align::Min, if on { t!("method-on") } else { t!("method-off") }, Type::Body, cx.c().text);
    response.on_hover_text(label.help).clicked().then_some(!on)
}

/// A whole number from `low` to `high`.
pub fn integer(low: u64, high: u64) -> impl Fn(&str) -> Result<u64, String> {
    move |text| {
        let plain = text.replace([',', '_', ' '], "");
        match plain.parse::<u64>() {
            Ok(value) if (low..=high).contains(&value) => Ok(value),
            Ok(_) => Err(t!("method-give-range", low = format::count(low), high = format::count(high))),
            Err(_) => Err(t!("method-give-whole").to_owned()),
        }
    }
}

/// A number from `low` to `high`.
pub fn number(low: f64, high: f64) -> impl Fn(&str) -> Result<f64, String> {
    move |text| match format::decimal_number(text) {
        Some(value) if (low..=high).contains(&value) => Ok(value),
        Some(_) => Err(t!("method-give-range", low = format::rate(low), high = format::rate(high))),
        None => Err(t!("method-give-rate").to_owned()),
    }
}

/// Reads a setting of a method from text, with its type and range.
///
/// # Errors
/// A sentence that says what to give instead.
pub fn read_setting(card: &SettingCard, text: &str) -> Result<Value, String> {
    let (low, high) = (card.min.unwrap_or(f64::NEG_INFINITY), card.max.unwrap_or(f64::INFINITY));
    let in_range = |value: f64| (low..=high).contains(&value) && value.is_finite();
    let range = || match (card.min, card.max) {
        (Some(low), Some(high)) => t!("method-give-range", low = format::rate(low), high = format::rate(high)),
        (Some(low), None) => t!("method-give-least", low = format::rate(low)),
        (None, Some(high)) => t!("method-give-most", high = format::rate(high)),
        (None, None) => t!("method-give-number").to_owned(),
    };
    match card.kind {
        SettingType::Integer => match text.replace([',', '_'], "").parse::<i64>() {
            Ok(value) if in_range(value as f64) => Ok(Value::Integer(value)),
            Ok(_) => Err(range()),
            Err(_) => Err(t!("method-give-whole").to_owned()),
        },
        SettingType::Number => match format::decimal_number(text) {
            Some(value) if in_range(value) => Ok(Value::Number(value)),
            Some(_) => Err(range()),
            None => Err(t!("method-give-decimal").to_owned()),
        },
        SettingType::Flag => Ok(Value::Flag(text == "true")),
        SettingType::Choice | SettingType::Text => Ok(Value::Text(text.to_owned())),
        SettingType::List => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Ok(Value::List(parts.map(str::to_owned).collect()))
        }
        SettingType::Table => {
            let mut table = std::collections::BTreeMap::new();
            for part in text.split(',').filter(|part| !part.trim().is_empty()) {
                let pair =
                    part.rsplit_once('=').and_then(|(key, value)| Some((key.trim(), value.trim().parse().ok()?)));
                let (key, value) = pair.ok_or_else(|| t!("method-give-pairs").to_owned())?;
                table.insert(key.to_owned(), value);
            }
            Ok(Value::Table(table))
        }
    }
}

/// A value as a field shows it.
#[must_use]
pub fn shown(value: &Value) -> String {
    match value {
        Value::Number(number) => format::rate(*number),
        other => other.to_string(),
    }
}

/// The row of one declared setting; gives its new value.
pub fn setting(
    cx: &PanelCtx<'_>,
    ui: &mut Ui,
    lines: &mut Rows,
    card: &SettingCard,
    value: &Value,
    note: &str,
) -> Option<Value> {
    let default = if card.default.is_empty() { String::new() } else { t!("method-default", default = card.default) };
    let help = format!("{}{default}", crate::reader::words::sentence_case(&card.help));
    let note = if note.is_empty() { card.unit.as_str() } else { note };
    let term = glossary::of_setting(&card.key);
    let label = Label { name: &card.label, help: &help, note, term };
    match card.kind {
        SettingType::Flag => {
            let on = matches!(value, Value::Flag(true)) || *value == Value::Text("true".to_owned());
            flag(cx, ui, lines, &label, on).map(Value::Flag)
        }
        SettingType::Choice => {
            let choices: Vec<&str> = card.choices.iter().map(String::as_str).collect();
            let current = value.to_string();
            choice(cx, ui, lines, &label, &choices, &current)
                .and_then(|index| Some(Value::Text((*choices.get(index)?).to_owned())))
        }
        SettingType::Integer | SettingType::Number => {
            figure(cx, ui, lines, &label, &shown(value), |text| read_setting(card, text))
        }
        SettingType::Text | SettingType::List | SettingType::Table => {
            words(cx, ui, lines, &label, &shown(value), |text| read_setting(card, text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(kind: SettingType) -> SettingCard {
        SettingCard {
            key: "rank".to_owned(),
            label: "Rank".to_owned(),
            kind,
            default: "16".to_owned(),
            min: Some(1.0),
            max: Some(1024.0),
            choices: Vec::new(),
            unit: String::new(),
            help: String::new(),
            advanced: false,
        }
    }

    #[test]
    fn settings_are_read_with_type_and_range() {
        assert_eq!(read_setting(&card(SettingType::Integer), "32"), Ok(Value::Integer(32)));
        assert_eq!(read_setting(&card(SettingType::Integer), "0"), Err("give 1 to 1024".to_owned()));
        assert!(read_setting(&card(SettingType::Integer), "many").is_err());
        assert!(read_setting(&card(SettingType::Number), "NaN").is_err());
        let list = Value::List(vec!["attn.q".to_owned(), "attn.v".to_owned()]);
        assert_eq!(read_setting(&card(SettingType::List), "attn.q, attn.v"), Ok(list));
        assert!(read_setting(&card(SettingType::Table), "attn.q").is_err());
    }

    #[test]
    fn numbers_with_commas_and_exponents_are_read() {
        assert_eq!(integer(1, 10_000)("1,200"), Ok(1200));
        assert!(integer(1, 10)("11").is_err());
        assert!((number(0.0, 1.0)("2e-4").expect("a rate") - 2e-4).abs() < 1e-12);
        assert!(number(0.0, 1.0)("-1").is_err());
    }

    #[test]
    fn a_comma_is_a_decimal_comma_in_every_field() {
        let train = number(0.0, 2000.0);
        let method = |text: &str| read_setting(&SettingCard { min: None, ..card(SettingType::Number) }, text);
        for (typed, value) in [("0,0002", 0.0002), ("1,5", 1.5), ("0,125", 0.125), ("1,000", 1000.0)] {
            assert_eq!(train(typed), Ok(value), "{typed}");
            assert_eq!(method(typed), Ok(Value::Number(value)), "{typed}");
        }
        assert!(train("1,5,0").is_err() && method("1,5,0").is_err(), "not guessed");
    }
}
