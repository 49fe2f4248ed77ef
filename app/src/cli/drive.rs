//! One engine in this process, one command at a time: sends it, prints what comes back, and turns
//! Ctrl-C into "stop and keep" for a run.

use crate::cli::human::Human;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use temper_protocol::{Act, Code, Command, EngineClient as _, Envelope, Event, Problem, RunStatus};

/// How often a lost wake-up could delay an event at most.
const LONGEST_NAP: Duration = Duration::from_millis(250);

/// An engine and the way its events are printed.
pub(crate) struct Session {
    client: temper_host::LocalClient,
    json: bool,
    human: Human,
    interrupts: Arc<AtomicU32>,
    interrupts_seen: u32,
    current_run: Option<u64>,
}

/// Prints a problem as `error: what / where / what to do`, or as the `error` event.
pub(crate) fn print_problem(json: bool, problem: &Problem) {
    if json {
        print_json(&Event::Error(problem.clone()));
    } else {
        print_error(&format!("error: {problem}"));
    }
}

/// One event as one line. A closed pipe is not an error: nobody listens any more.
pub(crate) fn print_json(event: &Event) {
    if let Ok(line) = serde_json::to_string(event) {
        print_line(&line);
    }
}

/// Writes a line to standard output and ignores a closed pipe.
pub(crate) fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _closed_pipe = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Writes a line to standard error.
pub(crate) fn print_error(line: &str) {
    let _closed_pipe = writeln!(std::io::stderr().lock(), "{line}");
}

impl Session {
    /// Starts an engine in this process.
    ///
    /// # Errors
    /// A problem when the engine cannot start.
    pub(crate) fn open(json: bool) -> Result<Self, Problem> {
        let mut client = temper_host::LocalClient::start()?;
        let main = std::thread::current();
        let interrupts = Arc::new(AtomicU32::new(0));
        let (counter, thread) = (Arc::clone(&interrupts), main.clone());
        // A second session in one process (quickstart) keeps the first handler, which is the same.
        let _already_set = ctrlc::set_handler(move || {
            if counter.fetch_add(1, Ordering::Relaxed) >= 2 {
                std::process::exit(130);
            }
            thread.unpark();
        });
        client.set_waker(Arc::new(move || main.unpark()));
        Ok(Self { client, json, human: Human::new(), interrupts, interrupts_seen: 0, current_run: None })
    }

    /// Looks after the machine while runs go on, as the engine of the window does: keeps it awake, lets runs wait on its
    /// battery.
    ///
    /// # Errors
    /// A problem when the system gives no thread.
    pub(crate) fn look_after(&self, keeps_awake: bool, pauses_on_battery: bool) -> Result<(), Problem> {
        let host = self.client.host();
        if keeps_awake {
            host.keep_awake();
        }
        if let Some(power) = pauses_on_battery.then(temper_host::power::of_this_machine).flatten() {
            host.watch_power(power, temper_host::power::LOOK_EVERY)?;
        }
        Ok(())
    }

    /// Sends `command` and prints everything until its last event. Returns whether it succeeded.
    ///
    /// # Errors
    /// The problem the engine answered with.
    pub(crate) fn carry_out(&mut self, command: Command) -> Result<bool, Problem> {
        let mut success = true;
        self.each(command, |session, event| {
            if session.json {
                print_json(event);
            } else {
                session.human.print(event);
            }
            match event {
                Event::Finished { status, .. } => success &= *status != RunStatus::Failed,
                Event::Certificate { pass, .. } => success &= *pass,
                Event::Selftest(test) => success &= test.pass,
                _ => {}
            }
        })?;
        Ok(success)
    }

    /// Sends `command` and returns all its events.
    ///
    /// # Errors
    /// The problem the engine answered with.
    pub(crate) fn collect(&mut self, command: Command) -> Result<Vec<Event>, Problem> {
        let mut events = Vec::new();
        self.each(command, |_, event| events.push(event.clone()))?;
        Ok(events)
    }

    /// Prints the registry, or one entry of it with its documentation.
    ///
    /// # Errors
    /// A problem when there is no such method.
    pub(crate) fn methods(&mut self, id: Option<&str>, family: Option<&str>) -> Result<bool, Problem> {
        let cards: Vec<_> = self
            .collect(Command::Methods {})?
            .into_iter()
            .filter_map(|event| match event {
                Event::Method(card) => Some(card),
                _ => None,
            })
            .collect();
        let known = cards.iter().map(|card| card.id.clone()).collect::<Vec<_>>().join(", ");
        let chosen: Vec<_> = cards
            .into_iter()
            .filter(|card| id.is_none_or(|id| card.id == id) && family.is_none_or(|family| card.family == family))
            .collect();
        if chosen.is_empty() {
            let asked = id.or(family).unwrap_or_default();
            return Err(Problem::new(
                Code::NotFound,
                format!("there is no method \"{asked}\""),
                "methods",
                format!("choose one of: {known}"),
            ));
        }
        for card in chosen {
            if self.json {
                print_json(&Event::Method(card));
            } else {
                Human::method(&card, id.is_some());
            }
        }
        Ok(true)
    }

    fn each(&mut self, command: Command, mut handle: impl FnMut(&mut Self, &Event)) -> Result<(), Problem> {
        let is_training = matches!(command, Command::Train { .. });
        let req = self.client.send(command)?;
        let mut arrived: Vec<Envelope> = Vec::new();
        loop {
            self.client.drain(&mut arrived);
            if arrived.is_empty() {
                if !self.client.is_alive() {
                    return Err(Problem::internal("the engine ended without an answer"));
                }
                self.obey_interrupt(req, is_training)?;
                std::thread::park_timeout(LONGEST_NAP);
                continue;
            }
            for envelope in arrived.drain(..) {
                if envelope.req != req {
                    continue;
                }
                match envelope.event {
                    Event::Done {} => {
                        self.human.finish();
                        return Ok(());
                    }
                    Event::Error(problem) => {
                        self.human.finish();
                        return Err(problem);
                    }
                    event => {
                        if let Event::Started { run, .. } | Event::Preparing { run, .. } | Event::Queued { run } =
                            &event
                        {
                            self.current_run = Some(*run);
                        }
                        let last = matches!(event, Event::Finished { .. });
                        handle(self, &event);
                        if last && is_training {
                            self.human.finish();
                            return Ok(());
                        }
                    }
                }
            }
        }
    }

    /// First Ctrl-C: stop and keep. Second: cancel. (The third ends the program in the handler.)
    fn obey_interrupt(&mut self, req: u64, is_training: bool) -> Result<(), Problem> {
        let count = self.interrupts.load(Ordering::Relaxed);
        if count == self.interrupts_seen {
            return Ok(());
        }
        self.interrupts_seen = count;
        match (is_training, self.current_run) {
            (true, Some(run)) => {
                let act = if count == 1 { Act::Stop } else { Act::Cancel };
                if !self.json {
                    print_error(if count == 1 { "stopping after this step; the result is kept" } else { "cancelling" });
                }
                self.client.send(Command::Control { project: None, run, act })?;
            }
            _ => {
                self.client.send(Command::CancelRequest { target: req })?;
            }
        }
        Ok(())
    }
}
