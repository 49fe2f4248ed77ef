//! What the engine really does: one file per command, glue over the crates below.
//!
//! Place in the data flow: [`TemperWorkshop`] looks at a command, checks what can be checked quickly, and
//! says what is to be done and whether that needs the machine for itself.

mod doctor;
mod evaluate;
mod export;
mod generate;
mod inspect;
mod load;
mod logits;
mod preflight;
mod preview;
mod projects;
mod train;

use crate::job::{Work, Workshop};
use temper_protocol::{Command, Event, Problem};

/// The program's workshop.
#[derive(Debug, Clone, Copy, Default)]
pub struct TemperWorkshop;

impl Workshop for TemperWorkshop {
    fn plan(&self, command: Command) -> Result<Work, Problem> {
        Ok(match command {
            Command::Inspect { paths } => Work::Light(Box::new(move |context: &_| inspect::run(&paths, context))),
            Command::NewProject { dir, model, data, method } => {
                Work::Answer(vec![projects::create(&dir, &model, &data, &method)?])
            }
            Command::CopyExample { name, dir } => Work::Answer(vec![projects::copy_example(&name, &dir)?]),
            Command::Preview { project, rows } => {
                Work::Light(Box::new(move |context: &_| preview::run(&project, rows, context)))
            }
            Command::Methods {} => {
                let cards = temper_methods::registry().iter().map(|method| Event::Method(method.declared().card()));
                Work::Answer(cards.collect())
            }
            Command::Preflight { project } => {
                Work::Heavy(Box::new(move |context: &_| preflight::run(&project, context)))
            }
            Command::Train { project, set, method, out, resume, max_steps } => {
                let order = train::Order { project, set, method, out, resume, max_steps };
                Work::Run(Box::new(train::plan(order)?))
            }
            Command::Generate { project, model, prompt, chat, limits } => Work::Light(Box::new(move |context: &_| {
                generate::run(project.as_deref(), &model, &prompt, chat, limits, context)
            })),
            Command::Evaluate { project, model, data, metrics } => {
                evaluate::check_metrics(&metrics)?;
                Work::Heavy(Box::new(move |context: &_| {
                    evaluate::run(project.as_deref(), &model, &data, &metrics, context)
                }))
            }
            Command::Export { project, source, format, dtype, out } => Work::Light(Box::new(move |context: &_| {
                export::run(project.as_deref(), &source, format, dtype, &out, context)
            })),
            Command::Verify { project, path, against } => {
                Work::Light(Box::new(move |context: &_| export::verify(project.as_deref(), &path, against.as_ref(), context)))
            }
            Command::Logits { model, tokens, out } => {
                Work::Light(Box::new(move |context: &_| logits::run(&model, &tokens, &out, context)))
            }
            Command::Doctor {} => Work::Heavy(Box::new(doctor::run)),
            Command::Control { .. } | Command::CancelRequest { .. } | Command::Shutdown {} => {
                return Err(Problem::internal("a command for the engine itself reached the workshop"));
            }
        })
    }
}
