//! The words of the window, in the language a person chose.
//!
//! Place in the data flow: `assets/texts/<language>/*.ftl` hold every text under a key; panels ask for one with
//! [`t!`](crate::t) and get words. [`catalogue`] knows the keys while the program is compiled, so that a key or an
//! argument that is not there does not compile; `table` holds the texts as they are handed out.
//!
//! A text without arguments is resolved once for each language and handed out as it lies there: no allocation, no lock,
//! one index into a table. A text with arguments is one `String`, as `format!` would make it, also where it has a form
//! for one and a form for many: Fluent makes both beforehand.
//!
//! The language belongs to a thread: the window's thread speaks the one of the settings, the reader of runs the one of
//! its request, and everything else (the command line, the log) speaks English.

pub mod catalogue;
mod table;

#[cfg(test)]
mod check;

use catalogue::TEXTS;
use std::cell::Cell;
use table::Table;

/// A language that the window speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Language {
    /// English; every text has it.
    #[default]
    English,
    /// German.
    German,
}

impl Language {
    /// Every language.
    pub const ALL: [Self; 2] = [Self::English, Self::German];

    /// Its short name after BCP 47, which is the name of its folder of texts too.
    #[must_use]
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::German => "de",
        }
    }

    /// The first language of a list such as `de_DE.UTF-8` or `fr:de` that the window speaks; English when there is none.
    #[must_use]
    pub fn of_locale(list: &str) -> Self {
        let short = |name: &str| name.split(['_', '-', '.', '@']).next().unwrap_or_default().to_ascii_lowercase();
        let known = |name: &str| Self::ALL.into_iter().find(|language| language.tag() == short(name));
        list.split(':').find_map(known).unwrap_or_default()
    }

    /// The language of the system, by the variables that POSIX names for it.
    #[must_use]
    pub fn of_system() -> Self {
        let set = |name: &&str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let name = ["LC_ALL", "LC_MESSAGES", "LANG"].iter().find(|name| set(name));
        Self::of_locale(&name.and_then(|name| std::env::var(name).ok()).unwrap_or_default())
    }
}

thread_local! {
    static SPOKEN: Cell<Language> = const { Cell::new(Language::English) };
}

/// From here on this thread speaks `language`.
pub fn speak(language: Language) {
    SPOKEN.with(|spoken| spoken.set(language));
}

/// The language of this thread.
#[must_use]
pub fn spoken() -> Language {
    SPOKEN.with(Cell::get)
}

/// One text, known by its place in the catalogue; made by [`k!`](crate::k).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text(usize);

impl Text {
    /// The text of `key`, which must be there and take no arguments.
    ///
    /// # Panics
    /// While compiling, when there is no such text or it takes arguments.
    #[must_use]
    pub const fn plain(key: &str) -> Self {
        Self::with(key, &[])
    }

    /// The text of `key`, which must be there and take exactly `arguments`.
    ///
    /// # Panics
    /// While compiling, when there is no such text or it takes other arguments.
    #[must_use]
    pub const fn with(key: &str, arguments: &[&str]) -> Self {
        let place = catalogue::place_of(key);
        assert!(place < TEXTS.len(), "no text has this key: add it to assets/texts/en");
        assert!(catalogue::takes(TEXTS[place].body, arguments), "the text of this key takes other arguments");
        Self(place)
    }

    /// Every text there is.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TEXTS.len()).map(Self)
    }

    /// Its key.
    #[must_use]
    pub fn key(self) -> &'static str {
        TEXTS.get(self.0).map_or("", |entry| entry.key)
    }

    /// The words, in the language of this thread.
    #[must_use]
    pub fn get(self) -> &'static str {
        self.in_language(spoken())
    }

    /// The words in `language`.
    #[must_use]
    pub fn in_language(self, language: Language) -> &'static str {
        Table::of(language).words(self.0)
    }

    /// The words with `arguments` in their places, in the language of this thread.
    #[must_use]
    pub fn fill(self, arguments: &[(&str, Value<'_>)]) -> String {
        Table::of(spoken()).fill(self.0, arguments)
    }
}

/// What stands in the place of an argument.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Words or a figure that is written already.
    Words(&'a str),
    /// A number, by which a text may choose its form; written without commas.
    Number(i64),
}

/// What can stand in the place of an argument.
pub trait Argument {
    /// As a value.
    fn value(&self) -> Value<'_>;
}

impl Argument for str {
    fn value(&self) -> Value<'_> {
        Value::Words(self)
    }
}

impl Argument for String {
    fn value(&self) -> Value<'_> {
        Value::Words(self)
    }
}

impl<T: Argument + ?Sized> Argument for &T {
    fn value(&self) -> Value<'_> {
        (**self).value()
    }
}

impl Argument for i64 {
    fn value(&self) -> Value<'_> {
        Value::Number(*self)
    }
}

impl Argument for u64 {
    fn value(&self) -> Value<'_> {
        Value::Number(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

impl Argument for u32 {
    fn value(&self) -> Value<'_> {
        Value::Number(i64::from(*self))
    }
}

impl Argument for usize {
    fn value(&self) -> Value<'_> {
        Value::Number(i64::try_from(*self).unwrap_or(i64::MAX))
    }
}

/// The words of a key: `t!("setup-train")` is a `&'static str`, `t!("data-rows", rows = count)` is a `String`.
/// A key that is not there, or other arguments than its text takes, do not compile.
#[macro_export]
macro_rules! t {
    ($key:literal) => {
        const { $crate::texts::Text::plain($key) }.get()
    };
    ($key:literal, $($name:ident = $value:expr),+ $(,)?) => {
        const { $crate::texts::Text::with($key, &[$(stringify!($name)),+]) }
            .fill(&[$((stringify!($name), $crate::texts::Argument::value(&$value))),+])
    };
}

/// A key whose words are asked for later, for tables: `k!("commands-undo")` is a [`Text`].
#[macro_export]
macro_rules! k {
    ($key:literal) => {
        const { $crate::texts::Text::plain($key) }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_chooses_a_language_that_is_there() {
        for (list, language) in [
            ("de_DE.UTF-8", Language::German),
            ("de", Language::German),
            ("fr_FR:de_AT:en", Language::German),
            ("en_GB.UTF-8", Language::English),
            ("C.UTF-8", Language::English),
            ("", Language::English),
        ] {
            assert_eq!(Language::of_locale(list), language, "{list}");
        }
    }

    #[test]
    fn each_thread_speaks_its_own_language() {
        speak(Language::German);
        let other = std::thread::Builder::new().name("other".to_owned()).spawn(spoken);
        let other = other.expect("a thread").join().expect("it ends");
        assert_eq!((spoken(), other), (Language::German, Language::English));
        speak(Language::English);
    }
}
