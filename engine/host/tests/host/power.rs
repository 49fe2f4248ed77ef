//! Runs wait while the machine is on its battery, and go on by themselves; a person's word counts more.

use crate::kit::{Client, PATIENCE, endless, planned, project_of, train};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use temper_host::power::SupplyFolder;
use temper_host::{Power, Supply};
use temper_protocol::{Act, Command, Event, RunStatus};
use temper_store::Reader;

/// Between two looks in a test.
const OFTEN: Duration = Duration::from_millis(2);

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("folder")
}

fn client() -> Client {
    Client::new(Box::new(|command| Ok(planned(&project_of(&command), None, endless))))
}

/// Power that a test sets, and that counts how often it was looked at.
#[derive(Clone, Default)]
struct Told {
    supply: Arc<Mutex<Option<Supply>>>,
    looks: Arc<AtomicUsize>,
}

impl Power for Told {
    fn supply(&mut self) -> Option<Supply> {
        self.looks.fetch_add(1, Ordering::AcqRel);
        *self.supply.lock()
    }
}

impl Told {
    /// Sets it, and waits until what follows has followed: the look after the one that saw it has begun.
    fn set(&self, supply: Option<Supply>) {
        *self.supply.lock() = supply;
        let (begin, before) = (Instant::now(), self.looks.load(Ordering::Acquire));
        while self.looks.load(Ordering::Acquire) < before + 2 {
            assert!(begin.elapsed() < PATIENCE, "nobody looks at the power");
            std::thread::yield_now();
        }
    }
}

fn warned(event: &Event, wanted: &str) -> bool {
    matches!(event, Event::Warning { code, .. } if code == wanted)
}

fn count(client: &Client, req: u64, wanted: impl Fn(&Event) -> bool) -> usize {
    client.of(req).iter().filter(|event| wanted(event)).count()
}

fn until_step_after(client: &mut Client, req: u64, before: u64) -> u64 {
    match client.until(req, |event| matches!(event, Event::Step { step, .. } if *step > before)) {
        Event::Step { step, .. } => step,
        other => panic!("{other:?}"),
    }
}

fn last_step(client: &Client, req: u64) -> u64 {
    let step = |event: &Event| if let Event::Step { step, .. } = event { Some(*step) } else { None };
    client.of(req).iter().filter_map(step).max().unwrap_or(0)
}

#[test]
fn a_run_waits_on_the_battery_says_why_and_goes_on_by_itself() {
    let (project, machine) = (folder(), folder());
    let plug = |online: &str| {
        std::fs::write(machine.path().join("AC").join("online"), online).expect("written");
    };
    for (supply, files) in
        [("AC", [("type", "Mains"), ("online", "1")]), ("BAT0", [("type", "Battery"), ("status", "")])]
    {
        std::fs::create_dir(machine.path().join(supply)).expect("folder");
        for (file, content) in files {
            std::fs::write(machine.path().join(supply).join(file), content).expect("written");
        }
    }
    let mut client = client();
    client.engine.host().watch_power(Box::new(SupplyFolder::new(machine.path())), OFTEN).expect("watched");
    let req = client.send(train(project.path()));
    until_step_after(&mut client, req, 2);
    plug("0");
    client.until(req, |event| warned(event, "on_battery"));
    client.until(req, |event| matches!(event, Event::Paused { .. }));
    let row = Reader::open(project.path()).expect("reader").run(1).expect("reads").expect("the run");
    assert_eq!(row.status, "paused");
    let said = client.of(req);
    let why = said.iter().position(|event| warned(event, "on_battery"));
    let pause = said.iter().position(|event| matches!(event, Event::Paused { .. }));
    assert!(why < pause, "the reason stands before the pause");
    plug("1");
    client.until(req, |event| warned(event, "off_battery"));
    client.until(req, |event| matches!(event, Event::Resumed { .. }));
    client.control(1, Act::Stop);
    let ended = client.end_of(req);
    assert!(matches!(ended, Event::Finished { status: RunStatus::Stopped, .. }), "{ended:?}");
    // What was said is on record, too.
    let record = Reader::open(project.path()).expect("reader");
    let events = record.events_after(1, 0, 1000).expect("events");
    let on_record = |code: &str| events.iter().any(|known| warned(&known.event, code));
    assert!(on_record("on_battery") && on_record("off_battery"));
}

#[test]
fn who_resumes_on_the_battery_means_it_until_the_next_time() {
    let project = folder();
    let (mut client, power) = (client(), Told::default());
    client.engine.host().watch_power(Box::new(power.clone()), OFTEN).expect("watched");
    let req = client.send(train(project.path()));
    until_step_after(&mut client, req, 0);
    power.set(Some(Supply::Battery));
    client.until(req, |event| matches!(event, Event::Paused { .. }));
    client.control(1, Act::Resume);
    client.until(req, |event| matches!(event, Event::Resumed { .. }));
    power.set(Some(Supply::Battery));
    let before = last_step(&client, req);
    until_step_after(&mut client, req, before + 1);
    assert_eq!(count(&client, req, |event| warned(event, "on_battery")), 1, "it is not held again");
    power.set(Some(Supply::Mains));
    power.set(Some(Supply::Battery));
    client.until(req, |event| matches!(event, Event::Paused { step, .. } if *step > before));
    assert_eq!(count(&client, req, |event| warned(event, "on_battery")), 2);
    assert_eq!(count(&client, req, |event| warned(event, "off_battery")), 0, "it went on by a person's word");
    client.control(1, Act::Stop);
    client.end_of(req);
}

#[test]
fn what_a_person_paused_stays_paused_when_power_is_back() {
    let project = folder();
    let (mut client, power) = (client(), Told::default());
    client.engine.host().watch_power(Box::new(power.clone()), OFTEN).expect("watched");
    let req = client.send(train(project.path()));
    until_step_after(&mut client, req, 0);
    client.control(1, Act::Pause);
    client.until(req, |event| matches!(event, Event::Paused { .. }));
    power.set(Some(Supply::Battery));
    power.set(Some(Supply::Mains));
    let ask = client.send(Command::PauseOnBattery { on: true });
    assert_eq!(client.end_of(ask), Event::Done {});
    let went_on = |event: &Event| matches!(event, Event::Resumed { .. }) || warned(event, "on_battery");
    assert_eq!(count(&client, req, |event| went_on(event) || warned(event, "off_battery")), 0);
    client.control(1, Act::Stop);
    client.end_of(req);
}

#[test]
fn the_setting_lets_runs_go_on_and_holds_them_again_and_a_waiting_run_is_held_when_its_turn_came() {
    let project = folder();
    let (mut client, power) = (client(), Told::default());
    client.engine.host().watch_power(Box::new(power.clone()), OFTEN).expect("watched");
    let first = client.send(train(project.path()));
    until_step_after(&mut client, first, 0);
    let second = client.send(train(project.path()));
    client.until(second, |event| matches!(event, Event::Queued { .. }));
    power.set(Some(Supply::Battery));
    client.until(first, |event| matches!(event, Event::Paused { .. }));
    assert_eq!(count(&client, second, |event| warned(event, "on_battery")), 0, "its turn has not come");
    let off = client.send(Command::PauseOnBattery { on: false });
    assert_eq!(client.end_of(off), Event::Done {});
    client.until(first, |event| matches!(event, Event::Resumed { .. }));
    let on = client.send(Command::PauseOnBattery { on: true });
    assert_eq!(client.end_of(on), Event::Done {});
    client.until(first, |event| warned(event, "off_battery"));
    client.control(1, Act::Stop);
    client.end_of(first);
    client.until(second, |event| matches!(event, Event::Paused { .. }));
    assert_eq!(count(&client, second, |event| warned(event, "on_battery")), 1);
    // A held run does not keep the engine from ending.
    drop(client);
    let row = Reader::open(project.path()).expect("reader").run(2).expect("reads").expect("the run");
    assert_eq!(row.status, "stopped");
}

#[test]
fn a_machine_without_a_battery_never_waits() {
    let (project, machine) = (folder(), folder());
    let mut client = client();
    client.engine.host().watch_power(Box::new(SupplyFolder::new(machine.path())), OFTEN).expect("watched");
    let power = Told::default();
    let req = client.send(train(project.path()));
    until_step_after(&mut client, req, 0);
    // Another one takes the place of the first.
    client.engine.host().watch_power(Box::new(power.clone()), OFTEN).expect("watched");
    power.set(None);
    let before = last_step(&client, req);
    until_step_after(&mut client, req, before + 3);
    assert_eq!(count(&client, req, |event| matches!(event, Event::Paused { .. }) || warned(event, "on_battery")), 0);
    client.control(1, Act::Stop);
    client.end_of(req);
}
