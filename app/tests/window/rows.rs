//! Rows of data for the scripted engine: a million made-up conversations, token by token; and the states of the token lens.

use crate::kit::{self, Window};
use std::collections::BTreeMap;
use std::path::PathBuf;
use temper::commands::UiCommand;
use temper::commands::keymap::KeysAct;
use temper::state::lens::LensAct;
use temper::testing::Stage;
use temper_protocol::data::{ColumnInfo, DataColumns, RoleInfo, RowField, RowForm, RowTexts};
use temper_protocol::event::{DataRows, LensRow};
use temper_protocol::{Code, Command, Event, Problem};

/// Rows of the scripted data.
pub(crate) const ROWS: u64 = 1_000_000;
/// What says that its rows are the same.
pub(crate) const STAMP: &str = "as they are";
/// The row that is a blank line, the one that is broken, and the one that is too long.
pub(crate) const BLANK: u64 = 4;
const BROKEN: u64 = 6;
const LONG: u64 = 9;

/// An adapter, as `inspect` says it.
pub(crate) fn adapter(path: &str) -> Event {
    Event::Adapter {
        path: PathBuf::from(path),
        format: "peft".to_owned(),
        method: "lora".to_owned(),
        base: "HuggingFaceTB/SmolLM2-135M-Instruct".to_owned(),
        rank: 32,
        sites: 210,
        parameters: 9_768_960,
    }
}

/// What the scripted engine says about rows; nothing about anything else.
pub(crate) fn answer(command: &Command) -> Vec<Event> {
    match command {
        Command::IndexRows { .. } => vec![known(0, Vec::new())],
        Command::Rows { first, count, most_tokens, .. } => {
            let last = (first + *count as u64).min(ROWS);
            let rows = (*first..last).filter(|row| *row != BLANK).map(|row| made(row, *most_tokens)).collect();
            vec![known(*first, rows)]
        }
        Command::RowLosses { row, most_tokens, .. } => {
            let mut measured = made(*row, *most_tokens);
            let loss = |index: usize| if index == 0 { f64::NAN } else { (index * 7 % 13) as f64 / 2.0 };
            measured.losses = (0..measured.ids.len()).map(loss).collect();
            vec![known(*row, vec![measured])]
        }
        Command::RowTexts { row, fields, most_tokens, .. } => vec![texts(*row, fields, *most_tokens)],
        _ => Vec::new(),
    }
}

/// Where the answer of a row stands.
pub(crate) const ANSWER: &str = "/messages/1/content";

/// The texts of a row; an empty answer is refused.
fn texts(row: u64, fields: &[RowField], most_tokens: usize) -> Event {
    let mut seen = made(row, most_tokens);
    let said = |mark: char| -> String {
        let own =
            seen.pieces.iter().zip(seen.marks.chars()).filter(|(piece, own)| *own == mark && *piece != "<|im_end|>");
        own.map(|(piece, _)| piece.as_str()).collect()
    };
    let field = |place: &str, text: String| RowField { place: place.to_owned(), text };
    let file = vec![field("/messages/0/content", said('c')), field(ANSWER, said('t'))];
    if let Some(new) = fields.iter().find(|field| field.place == ANSWER) {
        if new.text.trim().is_empty() {
            let place = format!("{} line {}", kit::DATA, row + 1);
            let action = "write the text so that the row can be trained, or take the edit back";
            return Event::Error(Problem::new(Code::DataInvalid, "there is no answer to train on", place, action));
        }
        if let Some(first) = seen.marks.find('t') {
            seen.pieces[first].clone_from(&new.text);
        }
    }
    Event::RowTexts(RowTexts { row, fields: file, seen })
}

fn known(first: u64, rows: Vec<LensRow>) -> Event {
    Event::Rows(DataRows { first, known: ROWS, complete: true, shortened: false, stamp: STAMP.to_owned(), rows })
}

/// A row, the same whenever it is asked for.
pub(crate) fn made(row: u64, most_tokens: usize) -> LensRow {
    const QUESTIONS: [&str; 4] =
        ["Where is my order?", "I want my money back", "Can I change the address?", "The parcel is\nbroken"];
    const ANSWERS: [&str; 4] = [
        "Sorry that it is late. I am looking it up now and will write back today.",
        "I understand. You can return it within 30 days, and we pay for the way back.",
        "Of course. Which address shall it go to?",
        "That should not happen. A new one leaves today; keep the broken one.",
    ];
    let place = (row % 4) as usize;
    let mut tokens: Vec<(String, char)> = Vec::new();
    let mut say = |text: &str, mark: char| tokens.extend(words(text).map(|word| (word.to_owned(), mark)));
    say("<|im_start|> user \n", 'm');
    say(QUESTIONS[place], 'c');
    say(&format!(" Order {}.", 4000 + row), 'c');
    say("<|im_end|> \n <|im_start|> assistant \n", 'm');
    say(ANSWERS[place], 't');
    if row == LONG {
        say(&" And once more, to be sure.".repeat(12), 'x');
    }
    tokens.push(("<|im_end|>".to_owned(), if row == LONG { 'x' } else { 't' }));
    let broken = row == BROKEN;
    if broken {
        tokens.clear();
    }
    let count = |wanted: char| tokens.iter().filter(|(_, mark)| *mark == wanted).count() as u64;
    LensRow {
        row,
        file: PathBuf::from(kit::DATA),
        line: row + 1,
        tokens: tokens.len() as u64,
        trained: count('t'),
        cut: count('x'),
        ids: (0..tokens.len().min(most_tokens)).map(|index| (row as u32 + index as u32 * 7919) % 49_152).collect(),
        marks: tokens.iter().take(most_tokens).map(|(_, mark)| *mark).collect(),
        pieces: tokens.into_iter().take(most_tokens).map(|(piece, _)| piece).collect(),
        borders: Vec::new(),
        problem: if broken {
            "the row is not valid JSON: expected `,` or `}` (character 218 of the row)".to_owned()
        } else {
            String::new()
        },
        losses: Vec::new(),
    }
}

/// Words with the blank before each, as byte-level tokens have it.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let at = rest.char_indices().skip(1).find(|(_, letter)| *letter == ' ').map_or(rest.len(), |(at, _)| at);
        let (word, behind) = rest.split_at(at);
        rest = behind;
        (!word.is_empty()).then_some(word)
    })
}

/// A project with data, in the lens.
pub(crate) fn token_lens(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
    kit::send(window, UiCommand::Lens(LensAct::Open(Some(LONG))));
    kit::send(window, UiCommand::Lens(LensAct::LeaveOut(LONG - 1)));
    window.run();
}

/// What each token of a row costs the base.
pub(crate) fn lens_loss(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
    kit::send(window, UiCommand::Lens(LensAct::Open(Some(LONG))));
    kit::send(window, UiCommand::Lens(LensAct::Losses(true)));
    window.run();
}

/// A row whose answer is edited, and one whose answer is refused.
pub(crate) fn lens_edit(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
    kit::send(window, UiCommand::Lens(LensAct::Open(Some(1))));
    kit::send(window, UiCommand::Lens(LensAct::Edit(true)));
    let text = |row: u64, text: &str| UiCommand::Lens(LensAct::Text(row, ANSWER.to_owned(), text.to_owned()));
    kit::send(window, text(1, "I understand. You can send it back within 30 days.\nWe pay for the way."));
    kit::send(window, UiCommand::Lens(LensAct::Choose(2)));
    kit::send(window, text(2, " "));
}

/// While the rows are still being found.
pub(crate) fn lens_looking(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(|command| match command {
        Command::IndexRows { .. } => vec![
            Event::Progress {
                done: 365 << 20,
                total: 1 << 30,
                unit: "bytes".to_owned(),
                stage: "finding rows".to_owned(),
            },
            Event::Rows(DataRows {
                first: 0,
                known: 356_400,
                complete: false,
                shortened: false,
                stamp: String::new(),
                rows: Vec::new(),
            }),
        ],
        Command::Rows { first, count, most_tokens, .. } => {
            let rows = (*first..first + *count as u64).map(|row| made(row, *most_tokens)).collect();
            vec![
                Event::Rows(DataRows {
                    first: *first,
                    known: 356_400,
                    complete: false,
                    shortened: false,
                    stamp: String::new(),
                    rows,
                }),
                Event::Done {},
            ]
        }
        other => kit::answer(other),
    });
    kit::open(window, stage);
    kit::send(window, UiCommand::Lens(LensAct::Open(None)));
    window.run();
}

/// A first look while all rows are being read.
pub(crate) fn setup_estimated(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(|command| match command {
        Command::Preview { .. } => vec![Event::Progress {
            done: 52 << 20,
            total: 1 << 30,
            unit: "bytes".to_owned(),
            stage: "tokenising".to_owned(),
        }],
        Command::Peek { .. } => {
            let mut look = kit::preview();
            if let Event::Preview { rows, estimated, bad_rows, cut_rows, .. } = &mut look {
                (*rows, *estimated, *bad_rows, *cut_rows) = (1_012_400, true, 0, 0);
            }
            vec![look, Event::Done {}]
        }
        other => kit::answer(other),
    });
    kit::open(window, stage);
}

/// Columns that nobody named as their roles; `schema` is what they are recognised as.
pub(crate) fn columns(schema: &str) -> DataColumns {
    let column = |name: &str, kind: &str, example: &str| ColumnInfo {
        name: name.to_owned(),
        kind: kind.to_owned(),
        example: example.to_owned(),
    };
    let form = |schema: &str, roles: &[(&str, bool)]| RowForm {
        schema: schema.to_owned(),
        roles: roles.iter().map(|(role, needed)| RoleInfo { role: (*role).to_owned(), needed: *needed }).collect(),
    };
    let mapping = [("prompt", "question"), ("completion", "reply")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    let prompts = [("prompt", true), ("completion", true), ("system", false), ("tools", false)];
    DataColumns {
        path: PathBuf::from(kit::DATA),
        columns: vec![
            column("topic", "text", "Delivery"),
            column("question", "text", "Where is my order? It was due on Monday and nobody wrote."),
            column("reply", "text", "Sorry that it is late."),
            column("stars", "number", "4"),
        ],
        schema: schema.to_owned(),
        mapping: if schema.is_empty() { BTreeMap::new() } else { mapping.into() },
        forms: vec![
            form("messages", &[("messages", true), ("tools", false), ("system", false)]),
            form("prompt-completion", &prompts),
            form("text", &[("text", true)]),
        ],
    }
}

/// Columns whose roles were guessed.
pub(crate) fn setup_columns(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(|command| match command {
        Command::Peek { .. } | Command::Preview { .. } => {
            let mut look = kit::preview();
            if let Event::Preview { schema, confidence, .. } = &mut look {
                "prompt-completion".clone_into(schema);
                *confidence = 0.65;
            }
            let found = matches!(command, Command::Peek { .. }).then(|| Event::Columns(columns("prompt-completion")));
            found.into_iter().chain([look, Event::Done {}]).collect()
        }
        other => kit::answer(other),
    });
    kit::open(window, stage);
}

/// Columns whose meaning is not clear.
pub(crate) fn setup_unclear(window: &mut Window, stage: &Stage) {
    stage.engine.reply_with(|command| {
        let problem = || {
            let what = "the meaning of the columns is not clear: topic, question, reply, stars";
            Event::Error(Problem::new(Code::DataInvalid, what, kit::DATA, "say what the columns are for"))
        };
        match command {
            Command::Peek { .. } => vec![Event::Columns(columns("")), problem()],
            Command::Preview { .. } => vec![problem()],
            other => kit::answer(other),
        }
    });
    kit::open(window, stage);
}

/// Keys that another command has.
pub(crate) fn help_keys(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
    kit::send(window, UiCommand::OpenHelp);
    kit::send(window, UiCommand::Keys(KeysAct::Begin(temper::commands::Id::Measure)));
    kit::send(window, UiCommand::Keys(KeysAct::Press("command+E".to_owned())));
}
