//! The texts of a language as they are handed out, resolved through Fluent.
//!
//! Made once for each language, when the first text is asked for in it. A text that is missing in a language is there in
//! English, so that a half-translated language is usable.

use super::catalogue::{self, ENGLISH, GERMAN, TEXTS};
use super::{Language, Value};
use fluent_bundle::{FluentArgs, FluentBundle, FluentResource, FluentValue};
use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use unic_langid::LanguageIdentifier;

/// Stands around the name of an argument while a text is taken apart.
const MARK: char = '\u{1}';

/// A text of a language.
#[derive(Debug)]
enum Form {
    /// No arguments.
    Plain(String),
    /// Words and arguments in turn; nothing to choose.
    Parts(Vec<Part>),
    /// One form for the number 1 and one for all others, which is all that plurals are in English and German.
    Counted { one: Vec<Part>, other: Vec<Part> },
    /// Chooses between forms in another way: Fluent says which, each time.
    Chosen,
}

#[derive(Debug)]
enum Part {
    Words(String),
    Argument(&'static str),
}

/// The texts of a language.
#[derive(Debug)]
pub(super) struct Table {
    language: Language,
    forms: Vec<Form>,
}

static TABLES: [OnceLock<Table>; Language::ALL.len()] = [const { OnceLock::new() }; Language::ALL.len()];
static RESOURCES: [OnceLock<Vec<FluentResource>>; Language::ALL.len()] =
    [const { OnceLock::new() }; Language::ALL.len()];

type Bundle = FluentBundle<&'static FluentResource>;

thread_local! {
    // Fluent keeps its rules of plurals in a cell: one bundle for each thread needs no lock.
    static BUNDLES: [OnceCell<Bundle>; Language::ALL.len()] = const { [const { OnceCell::new() }; Language::ALL.len()] };
}

fn files(language: Language) -> &'static [&'static str] {
    match language {
        Language::English => ENGLISH,
        Language::German => GERMAN,
    }
}

/// The parsed files of a language. What Fluent cannot read is left out here and found by the test of the texts.
fn resources(language: Language) -> &'static [FluentResource] {
    RESOURCES[language as usize].get_or_init(|| {
        let read = |text: &&str| match FluentResource::try_new((*text).to_owned()) {
            Ok(resource) | Err((resource, _)) => resource,
        };
        files(language).iter().map(read).collect()
    })
}

/// A bundle with the texts of `language`, English ones below them.
fn bundle(language: Language) -> Bundle {
    let tag: LanguageIdentifier = language.tag().parse().unwrap_or_default();
    let mut bundle = FluentBundle::new(vec![tag]);
    bundle.set_use_isolating(false);
    for resource in resources(Language::English).iter().chain(resources(language)) {
        bundle.add_resource_overriding(resource);
    }
    bundle
}

fn fluent(bundle: &Bundle, key: &str, arguments: Option<&FluentArgs<'_>>) -> String {
    let mut errors = Vec::new();
    let Some(pattern) = bundle.get_message(key).and_then(|message| message.value()) else { return key.to_owned() };
    bundle.format_pattern(pattern, arguments, &mut errors).into_owned()
}

/// The argument by which texts choose between one and many.
const COUNT: &str = "n";

/// Whether the only thing that a text chooses is one or many by [`COUNT`], which it does not show itself.
fn is_counted(body: &'static str) -> bool {
    let named = body.match_indices('$').filter(|(at, _)| catalogue::name_at(body, at + 1) == COUNT).count();
    let variants = body.matches('[').count() == 2 && body.contains("[one]") && body.contains("*[other]");
    named == 1 && variants && body.matches("->").count() == 1 && body.contains("{ $n ->")
}

/// Takes a text apart that has arguments but nothing to choose once `count` is known.
fn parts(bundle: &Bundle, key: &str, names: &[&'static str], count: Option<i64>) -> Vec<Part> {
    let mut marked = FluentArgs::new();
    for name in names {
        match count.filter(|_| *name == COUNT) {
            Some(count) => marked.set(*name, count),
            None => marked.set(*name, format!("{MARK}{name}{MARK}")),
        }
    }
    let text = fluent(bundle, key, Some(&marked));
    let mut parts = Vec::new();
    for (index, piece) in text.split(MARK).enumerate() {
        let name = names.iter().find(|name| **name == piece).filter(|_| index % 2 == 1);
        match name {
            Some(name) => parts.push(Part::Argument(name)),
            None if piece.is_empty() => {}
            None => parts.push(Part::Words(piece.to_owned())),
        }
    }
    parts
}

impl Table {
    /// The texts of `language`.
    pub(super) fn of(language: Language) -> &'static Self {
        TABLES[language as usize].get_or_init(|| Self::resolve(language))
    }

    fn resolve(language: Language) -> Self {
        let bundle = bundle(language);
        let own = catalogue::read(files(language)).into_iter().map(|entry| (entry.key, entry.body));
        let own: BTreeMap<&str, &'static str> = own.collect();
        let form = |entry: &catalogue::Entry| {
            let body = own.get(entry.key).copied().unwrap_or(entry.body);
            let names = catalogue::arguments(body);
            let parts = |count| parts(&bundle, entry.key, &names, count);
            if is_counted(body) {
                Form::Counted { one: parts(Some(1)), other: parts(Some(2)) }
            } else if body.contains("->") {
                Form::Chosen
            } else if names.is_empty() {
                Form::Plain(fluent(&bundle, entry.key, None))
            } else {
                Form::Parts(parts(None))
            }
        };
        Self { language, forms: TEXTS.iter().map(form).collect() }
    }

    /// A text without arguments; empty when it has some.
    pub(super) fn words(&self, place: usize) -> &str {
        match self.forms.get(place) {
            Some(Form::Plain(words)) => words,
            _ => "",
        }
    }

    /// A text with its arguments.
    pub(super) fn fill(&self, place: usize, arguments: &[(&str, Value<'_>)]) -> String {
        match self.forms.get(place) {
            Some(Form::Plain(words)) => words.clone(),
            Some(Form::Parts(parts)) => written(parts, arguments),
            Some(Form::Counted { one, other }) => {
                let is_one = arguments.iter().any(|(name, value)| *name == COUNT && *value == Value::Number(1));
                written(if is_one { one } else { other }, arguments)
            }
            Some(Form::Chosen) => self.chosen(TEXTS[place].key, arguments),
            None => String::new(),
        }
    }

    /// What Fluent makes of a text, whatever its form.
    pub(super) fn chosen(&self, key: &str, arguments: &[(&str, Value<'_>)]) -> String {
        let mut given = FluentArgs::with_capacity(arguments.len());
        for (name, value) in arguments {
            let value = match value {
                Value::Words(words) => FluentValue::from(*words),
                Value::Number(number) => FluentValue::from(*number),
            };
            given.set(*name, value);
        }
        BUNDLES.with(|bundles| {
            let bundle = bundles[self.language as usize].get_or_init(|| bundle(self.language));
            fluent(bundle, key, Some(&given))
        })
    }
}

fn written(parts: &[Part], arguments: &[(&str, Value<'_>)]) -> String {
    use std::fmt::Write as _;
    let length = |part: &Part| match part {
        Part::Words(words) => words.len(),
        Part::Argument(_) => 12,
    };
    let mut text = String::with_capacity(parts.iter().map(length).sum());
    for part in parts {
        match part {
            Part::Words(words) => text.push_str(words),
            Part::Argument(name) => match arguments.iter().find(|(given, _)| given == name) {
                Some((_, Value::Words(words))) => text.push_str(words),
                // Writing into a String cannot fail.
                Some((_, Value::Number(number))) => drop(write!(text, "{number}")),
                None => {}
            },
        }
    }
    text
}
