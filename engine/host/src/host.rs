//! The engine: takes requests, does one heavy thing at a time, and says how each request ended.
//!
//! ```text
//! submit -> intake thread: plan, check, accept runs -> engine thread: runs and other heavy work
//!        \                                          -> requests thread: light work
//!         \                                         -> two looks threads: what a person waits for with open eyes
//!         control, cancel: at once
//! engine, requests -> outbox -> whoever drains it
//! writer thread: flushes run databases, heartbeat, commands from windows without a pipe
//! power thread: runs wait while the machine is on its battery
//! ```
//!
//! No thread waits for a listener; a panic in a job ends that job and nothing else.

use crate::awake::Wakeful;
use crate::job::{Job, JobContext, PlannedRun, RunAgain, RunPlace, Upkeep, Work, Workshop, cancelled, guarded};
use crate::memory;
use crate::open::OpenRequests;
use crate::outbox::{Outbox, Waker};
use crate::power::{Ground, Power, PowerRule, PowerWatch};
use crate::projects::{LiveRun, Projects, Times};
use crate::queue::Queue;
use crate::refusals::{busy, no_such_run, no_thread};
use crate::run::{Figures, RunItem};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use temper_nn::kernels::threads::room_for;
use temper_protocol::{Act, Code, Command, Envelope, Event, Problem, Request};
use temper_store::{NewRun, Reader, RunRow, RunUpdate, Store};
use temper_train::Want;

/// The graph of a deep model is walked by recursion.
const ENGINE_STACK: usize = 64 << 20;
/// The thread that says that memory ran out writes a row and a few lines.
const MEMORY_STACK: usize = 1 << 20;
/// How long that thread waits for a lock; whoever waits inside the allocator may hold it for good.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);
/// Requests that may wait.
const QUEUE_LIMIT: usize = 256;

/// An engine. Dropping it stops its runs (their results are kept), cancels everything else and waits.
pub struct Host {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    memory: Option<JoinHandle<()>>,
    power: Mutex<Option<PowerWatch>>,
}

struct Shared {
    outbox: Arc<Outbox>,
    projects: Projects,
    workshop: Box<dyn Workshop>,
    intake: Queue<Request>,
    heavy: Queue<HeavyItem>,
    light: Queue<JobItem>,
    looks: Queue<JobItem>,
    /// Requests that are not over.
    open: OpenRequests,
    /// Heavy work that waits or goes on.
    heavy_work: AtomicUsize,
    shutdown: AtomicBool,
    /// Whether the machine is kept awake while a run goes on.
    wakeful: Wakeful,
    /// Whether runs wait for mains power.
    power: PowerRule,
    /// Both of these, for runs in processes of their own.
    upkeep: Arc<Upkeep>,
    /// Whether the thread that waits for a shortage of memory is to end.
    closed: AtomicBool,
    times: Times,
}

struct JobItem {
    req: u64,
    job: Box<dyn Job>,
    context: JobContext,
}

enum HeavyItem {
    Job(JobItem),
    Run(Box<RunItem>),
}

impl HeavyItem {
    fn req(&self) -> u64 {
        match self {
            Self::Job(item) => item.req,
            Self::Run(item) => item.req,
        }
    }
}

impl Host {
    /// Starts the engine's threads.
    ///
    /// # Errors
    /// A problem when the system gives no threads.
    pub fn start(workshop: Box<dyn Workshop>, times: Times) -> Result<Self, Problem> {
        let outbox = Arc::new(Outbox::new());
        let shared = Arc::new(Shared {
            projects: Projects::new(Arc::clone(&outbox)),
            outbox,
            workshop,
            intake: Queue::new(QUEUE_LIMIT),
            heavy: Queue::new(QUEUE_LIMIT),
            light: Queue::new(QUEUE_LIMIT),
            looks: Queue::new(QUEUE_LIMIT),
            open: OpenRequests::default(),
            heavy_work: AtomicUsize::new(0),
            shutdown: AtomicBool::new(false),
            wakeful: Wakeful::default(),
            power: PowerRule::default(),
            upkeep: Arc::default(),
            closed: AtomicBool::new(false),
            times,
        });
        let mut host = Self { shared, threads: Vec::new(), memory: None, power: Mutex::new(None) };
        host.spawn("memory", MEMORY_STACK, Shared::watch_memory)?;
        host.memory = host.threads.pop();
        host.spawn("intake", ENGINE_STACK, Shared::take_in)?;
        host.spawn("engine", ENGINE_STACK, Shared::do_heavy)?;
        host.spawn("requests", ENGINE_STACK, Shared::do_light)?;
        // Two: rows are shown while the places of the others are still being found.
        host.spawn("looks-1", ENGINE_STACK, Shared::do_looks)?;
        host.spawn("looks-2", ENGINE_STACK, Shared::do_looks)?;
        host.spawn("store-writer", 2 << 20, |shared| {
            shared.projects.write_until_closed(shared.times, &|live, act| shared.after_steering(live, act));
        })?;
        Ok(host)
    }

    fn spawn(&mut self, name: &str, stack: usize, body: fn(&Shared)) -> Result<(), Problem> {
        let shared = Arc::clone(&self.shared);
        let refused = |error: std::io::Error| no_thread(&error, name);
        room_for(1, stack).map_err(refused)?;
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .stack_size(stack)
            .spawn(move || body(&shared))
            .map_err(refused)?;
        self.threads.push(thread);
        Ok(())
    }

    /// Takes a request. Never waits; answers come through [`Self::drain`].
    ///
    /// # Errors
    /// A problem when too many requests wait already.
    pub fn submit(&self, request: Request) -> Result<(), Problem> {
        self.shared.submit(request)
    }

    /// Says something that belongs to no job, such as an answer to a malformed request.
    pub(crate) fn say(&self, envelope: Envelope) {
        self.shared.outbox.push(envelope);
    }

    /// Moves what has been said to the end of `into`, in order.
    pub fn drain(&self, into: &mut Vec<Envelope>) {
        self.shared.outbox.drain(into);
    }

    /// Waits until something was said or `longest` has passed; false when nothing will ever be said again.
    pub(crate) fn wait(&self, longest: Duration) -> bool {
        self.shared.outbox.wait(longest)
    }

    /// Sets who is told that something was said. The waker must not block.
    pub fn set_waker(&self, waker: Waker) {
        self.shared.outbox.set_waker(waker);
    }

    /// Whether every request has been answered.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.shared.open.is_empty()
    }

    /// Whether somebody asked the engine to end when it is idle.
    #[must_use]
    pub fn wants_shutdown(&self) -> bool {
        self.shared.shutdown.load(Ordering::Acquire)
    }

    /// Nobody listens any more: what was only asked is cancelled, what leaves something goes on.
    pub(crate) fn nobody_listens(&self) {
        self.shared.open.cancel_questions();
        self.shared.end_withdrawn();
    }

    /// Stops every run (the results are kept) and asks for the end of the engine, as the system does when
    /// it shuts down.
    pub fn stop_all(&self) {
        self.shared.shutdown.store(true, Ordering::Release);
        self.shared.projects.steer_all(Act::Stop);
        self.shared.end_withdrawn();
    }

    /// Keeps the machine awake while runs go on, from the next one on.
    pub fn keep_awake(&self) {
        self.shared.wakeful.want();
        self.shared.upkeep.keep_awake();
    }

    /// Lets runs wait while the machine is on its battery: `power` is asked now and every so often.
    ///
    /// # Errors
    /// A problem when the system gives no thread.
    pub fn watch_power(&self, mut power: Box<dyn Power>, every: Duration) -> Result<(), Problem> {
        let shared = Arc::clone(&self.shared);
        let look = move || shared.power.seen(power.supply(), &shared.ground());
        let watch = PowerWatch::start(every, look).map_err(|error| no_thread(&error, "power"))?;
        let before = self.power.lock().replace(watch);
        before.into_iter().for_each(PowerWatch::close);
        self.shared.upkeep.watch_power();
        Ok(())
    }

    /// How often things happen.
    #[must_use]
    pub fn times(&self) -> Times {
        self.shared.times
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if memory::ran_out() {
            // Some thread waits inside the allocator and will never be joined: the process ends as it is.
            self.shared.outbox.close();
            return;
        }
        self.power.get_mut().take().into_iter().for_each(PowerWatch::close);
        self.shared.intake.close();
        self.shared.projects.steer_all(Act::Stop);
        self.shared.open.cancel_all();
        // Runs accepted until the intake thread has ended are stopped by the second call.
        let mut threads = std::mem::take(&mut self.threads).into_iter();
        let intake = threads.next();
        let join = |thread: JoinHandle<()>| {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine ended by a panic");
            }
        };
        if let Some(intake) = intake {
            join(intake);
        }
        self.shared.projects.steer_all(Act::Stop);
        self.shared.open.cancel_all();
        self.shared.heavy.close();
        self.shared.light.close();
        self.shared.looks.close();
        let writer = threads.next_back();
        threads.for_each(join);
        self.shared.projects.close();
        if let Some(writer) = writer {
            join(writer);
        }
        self.shared.closed.store(true, Ordering::Release);
        if let Some(memory) = self.memory.take() {
            memory.thread().unpark();
            join(memory);
        }
        self.shared.outbox.close();
    }
}

impl Shared {
    /// The thread that does nothing until an allocation fails.
    fn watch_memory(&self) {
        let Some(bytes) = memory::wait_for_shortage(&self.closed) else { return };
        let mut of_runs = BTreeSet::new();
        for (live, store) in self.projects.live_within(LOCK_PATIENCE) {
            of_runs.insert(live.req);
            let Some(figures) = live.figures.try_lock_for(LOCK_PATIENCE) else { continue };
            if live.ended.swap(true, Ordering::AcqRel) {
                continue;
            }
            let finished = figures.out_of_memory(live.run, bytes).into_finished(live.run);
            if let Err(error) = store.push_event(live.run, &finished).and_then(|()| store.flush()) {
                tracing::error!(%error, run = live.run, "the end of the run is not on record");
            }
            self.say(live.req, finished);
        }
        let closed = self.open.close_all_within(LOCK_PATIENCE, |req| {
            if !of_runs.contains(&req) {
                let action = "close other programs, or use a smaller model or shorter texts, and try again";
                self.say(req, Event::Error(memory::problem(bytes, "working on a request", "engine", action)));
            }
        });
        if !closed {
            return;
        }
        self.shutdown.store(true, Ordering::Release);
        memory::said();
    }

    fn ground(&self) -> Ground<'_> {
        Ground { projects: &self.projects, outbox: &self.outbox, wakeful: &self.wakeful }
    }

    fn say(&self, req: u64, event: Event) {
        self.outbox.push(Envelope { req, event });
    }

    /// Ends a request. The only place that does so for anything but runs.
    fn end(&self, req: u64, result: Result<(), Problem>) {
        match result {
            Ok(()) => self.say(req, Event::Done {}),
            Err(problem) => self.say(req, Event::Error(problem)),
        }
        // Last, so that an idle engine has said everything.
        self.open.close(req);
    }

    fn submit(&self, request: Request) -> Result<(), Problem> {
        let req = request.req;
        match request.command {
            Command::Control { project, run, act } => {
                let found = self.projects.steer(project.as_deref(), run, act);
                let result = found.map(|live| self.after_steering(&live, act)).ok_or_else(|| no_such_run(run));
                self.end(req, result);
                Ok(())
            }
            Command::CancelRequest { target } => {
                let flag = self.open.flag(target);
                if let Some(flag) = flag {
                    flag.store(true, Ordering::Release);
                    self.projects.steer_request(target, Act::Cancel);
                    self.end_withdrawn();
                }
                // A request that is over needs no cancelling.
                self.end(req, Ok(()));
                Ok(())
            }
            Command::PauseOnBattery { on } => {
                self.power.wanted(on, &self.ground());
                self.upkeep.pause_on_battery(on);
                self.end(req, Ok(()));
                Ok(())
            }
            Command::Shutdown {} => {
                self.shutdown.store(true, Ordering::Release);
                self.end(req, Ok(()));
                Ok(())
            }
            command => {
                self.open.open(req, &command);
                self.intake.push(Request { req, command }).map_err(|_request| {
                    self.open.close(req);
                    busy()
                })
            }
        }
    }

    /// What follows for the queue when a run was told something.
    fn after_steering(&self, live: &LiveRun, act: Act) {
        match act {
            Act::Sooner | Act::Later => self.change_places(live, act == Act::Sooner),
            Act::Stop | Act::Cancel => self.end_withdrawn(),
            // On the battery perhaps, against the rule.
            Act::Resume => self.wakeful.wake(),
            Act::Pause | Act::SaveNow | Act::SampleNow => {}
        }
    }

    /// A run that waits changes places with the next one of its project. The order is on record as that in which each was
    /// said to wait last.
    fn change_places(&self, live: &LiveRun, ahead: bool) {
        let of_project = |item: &HeavyItem| matches!(item, HeavyItem::Run(item) if item.live.project == live.project);
        let chosen =
            |item: &HeavyItem| of_project(item) && matches!(item, HeavyItem::Run(item) if item.live.run == live.run);
        if !self.heavy.change_places(chosen, of_project, ahead) {
            return;
        }
        let mut written = None;
        // Under the lock of the queue: a run that begins meanwhile must not be called waiting afterwards.
        self.heavy.look(|item| {
            if let HeavyItem::Run(item) = item
                && item.live.project == live.project
            {
                let (run, store) = (item.place.run, &item.place.store);
                if let Err(error) = store.push_event(run, &Event::Queued { run }) {
                    tracing::warn!(%error, run, "the order of the waiting runs is not on record");
                }
                self.say(item.req, Event::Queued { run });
                written = Some(Arc::clone(store));
            }
        });
        if let Some(Err(error)) = written.map(|store| store.flush()) {
            tracing::warn!(%error, "the order of the waiting runs is not on record yet");
        }
    }

    /// Ends what was cancelled while it waited.
    fn end_withdrawn(&self) {
        let withdrawn = self.heavy.take(|item| match item {
            HeavyItem::Job(item) => item.context.is_cancelled(),
            HeavyItem::Run(item) => item.live.control.poll() >= Want::Stop,
        });
        for item in withdrawn {
            self.heavy_work.fetch_sub(1, Ordering::AcqRel);
            match item {
                HeavyItem::Job(item) => self.end(item.req, Err(cancelled())),
                HeavyItem::Run(item) => {
                    let req = item.req;
                    item.withdraw(&self.outbox, &self.projects);
                    self.open.close(req);
                }
            }
        }
    }

    /// The intake thread.
    fn take_in(&self) {
        while let Some(Request { req, command }) = self.intake.pop() {
            let flag = self.open.flag(req).unwrap_or_default();
            let context = JobContext::new(req, Arc::clone(&self.outbox), flag).with_upkeep(Arc::clone(&self.upkeep));
            if context.is_cancelled() {
                self.end(req, Err(cancelled()));
                continue;
            }
            match guarded(|| self.workshop.plan(command)) {
                Ok(Work::Answer(events)) => {
                    for event in events {
                        context.emit(event);
                    }
                    self.end(req, Ok(()));
                }
                Ok(Work::Light(job)) => {
                    if self.light.push(JobItem { req, job, context }).is_err() {
                        self.end(req, Err(busy()));
                    }
                }
                Ok(Work::Look(job)) => {
                    if self.looks.push(JobItem { req, job, context }).is_err() {
                        self.end(req, Err(busy()));
                    }
                }
                Ok(Work::Heavy(job)) => {
                    if self.heavy_work.load(Ordering::Acquire) > 0 {
                        context.progress("waiting for what is running", 0, 0, "requests");
                    }
                    self.queue_heavy(HeavyItem::Job(JobItem { req, job, context }));
                }
                Ok(Work::Run(planned)) => match guarded(|| self.accept(req, *planned)) {
                    Ok(item) => {
                        if self.heavy_work.load(Ordering::Acquire) > 0 {
                            let run = item.place.run;
                            if let Err(error) = item.place.store.push_event(run, &Event::Queued { run }) {
                                tracing::warn!(%error, run, "the run's waiting is not on record");
                            }
                            self.say(req, Event::Queued { run });
                        }
                        if context.is_cancelled() {
                            item.live.control.request(Act::Cancel);
                        }
                        self.queue_heavy(HeavyItem::Run(Box::new(item)));
                    }
                    Err(problem) => self.end(req, Err(problem)),
                },
                Err(problem) => self.end(req, Err(problem)),
            }
        }
    }

    fn queue_heavy(&self, item: HeavyItem) {
        self.heavy_work.fetch_add(1, Ordering::AcqRel);
        if let Err(item) = self.heavy.push(item) {
            self.heavy_work.fetch_sub(1, Ordering::AcqRel);
            let req = item.req();
            match item {
                HeavyItem::Job(_) => self.end(req, Err(busy())),
                HeavyItem::Run(item) => {
                    item.withdraw(&self.outbox, &self.projects);
                    self.open.close(req);
                }
            }
            return;
        }
        // Who was told that it waits may have taken it out before it stood in the queue.
        self.end_withdrawn();
    }

    /// Locks the project, gives the run its row and its control block.
    fn accept(&self, req: u64, planned: PlannedRun) -> Result<RunItem, Problem> {
        let PlannedRun { project_dir, row, again, job } = planned;
        let store = self.projects.enter(&project_dir)?;
        let registered = self.register(&store, &row, again.as_ref()).and_then(|before| {
            let (run, run_dir) = (before.run, before.folder.clone());
            if self.projects.is_live(&project_dir, run) {
                return Err(Problem::new(
                    Code::Busy,
                    format!("run {run} goes on already"),
                    run_dir.display().to_string(),
                    "wait for its end, or stop it first",
                ));
            }
            if again.is_some() {
                let settings_toml = Some(row.settings_toml.clone());
                store.update_run(
                    run,
                    &RunUpdate { status: Some("queued".to_owned()), settings_toml, ..RunUpdate::default() },
                )?;
            }
            store.heartbeat(run, std::process::id())?;
            Ok(before)
        });
        match registered {
            Ok(before) => {
                let place = RunPlace {
                    run: before.run,
                    run_dir: before.folder.clone(),
                    project_dir: project_dir.clone(),
                    store,
                };
                let before = again.is_some().then_some(before);
                let live = self.projects.add_run(&project_dir, place.run, req, Figures::waiting(before.as_ref()));
                Ok(RunItem { req, live, place, before, job })
            }
            Err(problem) => {
                drop(store);
                self.projects.leave(&project_dir);
                Err(problem)
            }
        }
    }

    /// The run's row, new or found again.
    fn register(&self, store: &Store, row: &NewRun, again: Option<&RunAgain>) -> Result<RunRow, Problem> {
        let reader = Reader::open(store.project_dir())?;
        let run = match again {
            None => store.create_run(row)?,
            Some(again) => {
                let known = reader.run(again.run)?.is_some_and(|found| same_folder(&found.folder, &again.folder));
                if known {
                    again.run
                } else {
                    store.adopt_run(again.run, &NewRun { folder: Some(again.folder.clone()), ..row.clone() })?
                }
            }
        };
        reader.run(run)?.ok_or_else(|| no_such_run(run))
    }

    /// The engine thread.
    fn do_heavy(&self) {
        while let Some(item) = self.heavy.pop() {
            let req = item.req();
            match item {
                HeavyItem::Job(item) => self.do_job(item),
                HeavyItem::Run(item) => {
                    self.wakeful.begin();
                    item.carry_out(&self.outbox, &self.projects);
                    self.wakeful.end();
                    self.open.close(req);
                }
            }
            self.heavy_work.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The requests thread.
    fn do_light(&self) {
        while let Some(item) = self.light.pop() {
            self.do_job(item);
        }
    }

    /// A looks thread.
    fn do_looks(&self) {
        while let Some(item) = self.looks.pop() {
            self.do_job(item);
        }
    }

    fn do_job(&self, item: JobItem) {
        let JobItem { req, job, context } = item;
        let result = guarded(|| {
            context.check_cancelled()?;
            job.carry_out(&context)
        });
        self.end(req, result);
    }
}

fn same_folder(a: &std::path::Path, b: &std::path::Path) -> bool {
    crate::projects::key(a) == crate::projects::key(b)
}
