//! Rows of data for the scripted engine: a million made-up conversations, token by token; and the states of the token lens.

use crate::kit::{self, Window};
use std::path::PathBuf;
use temper::commands::UiCommand;
use temper::commands::keymap::KeysAct;
use temper::state::lens::LensAct;
use temper::testing::Stage;
use temper_protocol::event::{DataRows, LensRow};
use temper_protocol::{Command, Event};

/// Rows of the scripted data.
pub(crate) const ROWS: u64 = 1_000_000;
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
        _ => Vec::new(),
    }
}

fn known(first: u64, rows: Vec<LensRow>) -> Event {
    Event::Rows(DataRows { first, known: ROWS, complete: true, shortened: false, rows })
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
            Event::Rows(DataRows { first: 0, known: 356_400, complete: false, shortened: false, rows: Vec::new() }),
        ],
        Command::Rows { first, count, most_tokens, .. } => {
            let rows = (*first..first + *count as u64).map(|row| made(row, *most_tokens)).collect();
            vec![
                Event::Rows(DataRows { first: *first, known: 356_400, complete: false, shortened: false, rows }),
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

/// Keys that another command has.
pub(crate) fn help_keys(window: &mut Window, stage: &Stage) {
    kit::open(window, stage);
    kit::send(window, UiCommand::OpenHelp);
    kit::send(window, UiCommand::Keys(KeysAct::Begin(temper::commands::Id::Measure)));
    kit::send(window, UiCommand::Keys(KeysAct::Press("command+E".to_owned())));
}
