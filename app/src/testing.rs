//! A scripted engine, runs without a store, and a stopped clock: what tests of the window are made of.

use crate::app::App;
use crate::client::EngineLauncher;
use crate::dialogs::{Pick, Picked, Picker};
use crate::files::{Inline, Places};
use crate::herald::Herald;
use crate::instance::Door;
use crate::reader::{RunSource, RunsSnapshot, ViewRequest};
use crate::screen::{Screen, Shot};
use crate::shutdown::Machine;
use crate::state::{Clock, State};
use crate::update::Services;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use temper_protocol::{Command, EngineClient, Envelope, Event, Problem};

/// The stopped clock of tests: 24 November 2026, 15:46 UTC.
pub const NOW_MILLIS: i64 = 1_795_535_160_000;

type Reply = Box<dyn FnMut(&Command) -> Vec<Event> + Send>;

/// What a scripted engine was told, and what it will say.
#[derive(Default)]
pub struct Script {
    /// Commands with their numbers, oldest first.
    pub sent: Vec<(u64, Command)>,
    /// Events that will be drained next.
    pub inbox: VecDeque<Envelope>,
    /// Whether the engine is gone.
    pub dead: bool,
    /// How often an engine was started.
    pub launches: usize,
    next_request: u64,
    reply: Option<Reply>,
}

/// A shared handle on a [`Script`].
#[derive(Clone, Default)]
pub struct FakeEngine(pub Arc<Mutex<Script>>);

impl FakeEngine {
    /// Answers each command by `reply`; what it does not answer can be said later with [`Self::say`].
    pub fn reply_with(&self, reply: impl FnMut(&Command) -> Vec<Event> + Send + 'static) {
        self.0.lock().reply = Some(Box::new(reply));
    }

    /// Says something for the newest request that fits.
    pub fn say(&self, fits: impl Fn(&Command) -> bool, events: Vec<Event>) {
        let mut script = self.0.lock();
        let request = script.sent.iter().rev().find(|(_, command)| fits(command)).map(|(request, _)| *request);
        let request = request.unwrap_or(0);
        script.inbox.extend(events.into_iter().map(|event| Envelope { req: request, event }));
    }

    /// The newest command that fits.
    pub fn newest(&self, fits: impl Fn(&Command) -> bool) -> Option<Command> {
        self.0.lock().sent.iter().rev().map(|(_, command)| command).find(|command| fits(command)).cloned()
    }

    /// How many commands fit.
    pub fn count(&self, fits: impl Fn(&Command) -> bool) -> usize {
        self.0.lock().sent.iter().filter(|(_, command)| fits(command)).count()
    }

    /// Breaks the engine.
    pub fn die(&self) {
        self.0.lock().dead = true;
    }

    /// A launcher that always gives this engine.
    #[must_use]
    pub fn launcher(&self) -> EngineLauncher {
        let shared = self.clone();
        EngineLauncher::with(move |_wake| {
            let mut script = shared.0.lock();
            script.dead = false;
            script.launches += 1;
            Ok(Box::new(FakeClient(shared.clone())))
        })
    }
}

struct FakeClient(FakeEngine);

impl EngineClient for FakeClient {
    fn send(&mut self, command: Command) -> Result<u64, Problem> {
        let mut script = self.0.0.lock();
        script.next_request += 1;
        let request = script.next_request;
        script.sent.push((request, command.clone()));
        if let Some(mut reply) = script.reply.take() {
            let events = reply(&command);
            script.inbox.extend(events.into_iter().map(|event| Envelope { req: request, event }));
            script.reply = Some(reply);
        }
        Ok(request)
    }

    fn drain(&mut self, into: &mut Vec<Envelope>) {
        into.extend(self.0.0.lock().inbox.drain(..));
    }

    fn is_alive(&self) -> bool {
        !self.0.0.lock().dead
    }

    fn set_waker(&mut self, _wake: Arc<dyn Fn() + Send + Sync>) {}
}

/// Runs without a store.
#[derive(Clone, Default)]
pub struct FakeRuns(pub Arc<Mutex<RunsScript>>);

/// What a [`FakeRuns`] was asked and will give.
#[derive(Default)]
pub struct RunsScript {
    /// The last wish.
    pub request: ViewRequest,
    /// Commands for a run of another process.
    pub steered: Vec<Command>,
    next: Option<Arc<RunsSnapshot>>,
}

impl FakeRuns {
    /// Gives this snapshot at the next frame.
    pub fn publish(&self, snapshot: RunsSnapshot) {
        self.0.lock().next = Some(Arc::new(snapshot));
    }
}

impl RunSource for FakeRuns {
    fn look(&mut self, request: ViewRequest) {
        self.0.lock().request = request;
    }

    fn nudge(&mut self) {}

    fn latest(&mut self) -> Option<Arc<RunsSnapshot>> {
        self.0.lock().next.take()
    }

    fn steer(&mut self, command: Command) {
        self.0.lock().steered.push(command);
    }
}

/// Dialogs that answer what they are told to.
#[derive(Clone, Default)]
pub struct FakePicker(pub Arc<Mutex<PickerScript>>);

/// What a [`FakePicker`] was asked and will answer.
#[derive(Default)]
pub struct PickerScript {
    /// Dialogs that were opened.
    pub asked: Vec<Pick>,
    /// Folders that were shown.
    pub shown: Vec<PathBuf>,
    /// The next answer.
    pub answer: Option<Picked>,
}

impl Picker for FakePicker {
    fn pick(&mut self, what: Pick, _title: &str) {
        self.0.lock().asked.push(what);
    }

    fn show_folder(&mut self, folder: &Path) {
        self.0.lock().shown.push(folder.to_path_buf());
    }

    fn poll(&mut self) -> Option<Picked> {
        let mut script = self.0.lock();
        if script.asked.is_empty() && script.shown.is_empty() { None } else { script.answer.take() }
    }
}

/// What was said outside the window, oldest first.
#[derive(Clone, Default)]
pub struct FakeHerald(pub Arc<Mutex<Vec<String>>>);

impl Herald for FakeHerald {
    fn tell(&mut self, text: &str) {
        self.0.lock().push(text.to_owned());
    }
}

/// A machine that counts how often it was to be shut down.
#[derive(Clone, Default)]
pub struct FakeMachine(pub Arc<Mutex<MachineScript>>);

/// What a [`FakeMachine`] was asked and will say.
#[derive(Default)]
pub struct MachineScript {
    /// How often it was to be shut down.
    pub asked: usize,
    /// Why it refuses.
    pub refuses: Option<String>,
}

impl Machine for FakeMachine {
    fn shut_down(&mut self) {
        self.0.lock().asked += 1;
    }

    fn refused(&mut self) -> Option<String> {
        let mut script = self.0.lock();
        if script.asked > 0 { script.refuses.take() } else { None }
    }
}

/// A screen of one colour a row, so that a picture tells which rows of the frame it is from.
struct FakeScreen;

impl Screen for FakeScreen {
    fn shoot(&mut self, ctx: &egui::Context, done: Shot) {
        let size = ctx.content_rect().size() * ctx.pixels_per_point();
        let (width, height) = (size.x as usize, size.y as usize);
        let row = |y: usize| [(y / 256) as u8, (y % 256) as u8, 0];
        let rgb: Vec<u8> = (0..height).flat_map(|y| std::iter::repeat_n(row(y), width)).flatten().collect();
        done(Arc::new(egui::ColorImage::from_rgb([width, height], &rgb)));
    }
}

/// A window over scripts.
#[derive(Clone)]
pub struct Stage {
    /// The engine.
    pub engine: FakeEngine,
    /// The store.
    pub runs: FakeRuns,
    /// The dialogs.
    pub picker: FakePicker,
    /// What other starts hand over.
    pub door: Door,
    /// Notices outside the window.
    pub herald: FakeHerald,
    /// Who would shut the machine down.
    pub machine: FakeMachine,
    /// Folders, all below the one given.
    pub places: Places,
}

impl Stage {
    /// Everything below `root`.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            engine: FakeEngine::default(),
            runs: FakeRuns::default(),
            picker: FakePicker::default(),
            door: Door::default(),
            herald: FakeHerald::default(),
            machine: FakeMachine::default(),
            places: Places { config: root.join("config"), data: root.join("data"), projects: root.join("Temper") },
        }
    }

    /// The window.
    #[must_use]
    pub fn app(&self) -> App {
        let services = Services {
            launcher: self.engine.launcher(),
            client: None,
            runs: Box::new(self.runs.clone()),
            files: Box::new(Inline::new(self.places.clone())),
            picker: Box::new(self.picker.clone()),
            screen: Box::new(FakeScreen),
            door: self.door.clone(),
            herald: Box::new(self.herald.clone()),
            machine: Box::new(self.machine.clone()),
            wake: Arc::new(|| {}),
            looked: ViewRequest::default(),
            waiting: Vec::new(),
        };
        let state = State::new(self.places.clone(), Clock::Fixed(NOW_MILLIS));
        App::new(state, services, Vec::new(), false)
    }
}
