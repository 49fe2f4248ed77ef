//! The work behind each command, one file per command.
//!
//! Place in the data flow: the intake thread asks [`Program`] what a command means; the jobs it returns
//! call the other engine crates and emit what they say.

mod bench;
mod bench_load;
mod bench_methods;
mod bench_scale;
mod bench_times;
mod beneath;
mod capsule;
mod cases;
mod child;
mod compare;
mod doctor;
mod evaluate;
mod export;
mod generate;
mod housekeep;
mod inspect;
mod lens;
mod lens_loss;
mod load;
mod logits;
mod new_project;
mod pareto;
mod preview;
mod prices;
mod race;
mod race_kept;
mod repair;
mod request;
mod selftest;
mod train;
mod trial;

use crate::builtin::{self, Builtins};
use crate::job::{JobContext, Work, Workshop};
use crate::names;
use std::sync::Arc;
use temper_protocol::{Command, Event, Problem};

/// What the program can do.
pub struct Program {
    builtins: Arc<Builtins>,
    kept: Arc<load::Kept>,
    lenses: Arc<lens::Lenses>,
}

impl Program {
    /// The program with its bundled files in the person's cache folder.
    ///
    /// # Errors
    /// There is no place for the bundled files.
    pub fn new() -> Result<Self, Problem> {
        Ok(Self::with(Builtins::in_cache_folder()?))
    }

    /// The program with its bundled files elsewhere.
    #[must_use]
    pub fn with(builtins: Builtins) -> Self {
        Self { builtins: Arc::new(builtins), kept: Arc::default(), lenses: Arc::default() }
    }

    /// Work that may be done while a run goes on.
    fn light(
        &self,
        work: impl FnOnce(&Builtins, &JobContext) -> Result<(), Problem> + Send + 'static,
    ) -> Result<Work, Problem> {
        let builtins = Arc::clone(&self.builtins);
        Ok(Work::Light(Box::new(move |context: &JobContext| work(&builtins, context))))
    }

    /// Work on single rows of the data.
    fn look(
        &self,
        work: impl FnOnce(&Builtins, &lens::Lenses, &JobContext) -> Result<(), Problem> + Send + 'static,
    ) -> Result<Work, Problem> {
        let (builtins, lenses) = (Arc::clone(&self.builtins), Arc::clone(&self.lenses));
        Ok(Work::Look(Box::new(move |context: &JobContext| work(&builtins, &lenses, context))))
    }

    /// Work that needs the machine for itself.
    fn heavy(
        &self,
        work: impl FnOnce(&Builtins, &load::Kept, &JobContext) -> Result<(), Problem> + Send + 'static,
    ) -> Result<Work, Problem> {
        let (builtins, kept) = (Arc::clone(&self.builtins), Arc::clone(&self.kept));
        Ok(Work::Heavy(Box::new(move |context: &JobContext| work(&builtins, &kept, context))))
    }

    /// What is asked about the rows of a project's data.
    fn plan_rows(&self, command: Command) -> Result<Work, Problem> {
        match command {
            Command::Preview { project, rows } => {
                self.light(move |builtins, context| preview::preview(builtins, &project, rows, context))
            }
            Command::Peek { project, rows } => {
                self.look(move |builtins, lenses, context| lens::peek(builtins, lenses, &project, rows, context))
            }
            Command::IndexRows { project } => {
                self.look(move |builtins, lenses, context| lens::index(builtins, lenses, &project, context))
            }
            Command::Rows { project, first, count, most_tokens } => {
                let wanted = lens::Wanted { first, count, most_tokens };
                self.look(move |builtins, lenses, context| lens::rows(builtins, lenses, &project, wanted, context))
            }
            Command::RowTexts { project, row, fields, most_tokens } => self.look(move |builtins, lenses, context| {
                lens::texts(builtins, lenses, &project, (row, fields.as_slice()), most_tokens, context)
            }),
            Command::RowLosses { project, row, fields, most_tokens } => {
                let lenses = Arc::clone(&self.lenses);
                self.heavy(move |builtins, kept, context| {
                    lens_loss::losses(
                        builtins,
                        (kept, &*lenses),
                        &project,
                        (row, fields.as_slice()),
                        most_tokens,
                        context,
                    )
                })
            }
            Command::CleanRows { project, leave_out, deduplicate, edits, stamp } => {
                let edits = edits.into_iter().map(|edit| (edit.row, edit.fields)).collect();
                let leave_out = leave_out.into_iter().collect();
                let cleaning = temper_data::lens::Cleaning { leave_out, deduplicate, edits };
                let lenses = Arc::clone(&self.lenses);
                self.light(move |builtins, context| {
                    lens::clean(builtins, &lenses, &project, (&cleaning, stamp.as_str()), context)
                })
            }
            other => Err(Problem::internal(format!("{other:?} is not about rows"))),
        }
    }
}

impl Workshop for Program {
    fn plan(&self, command: Command) -> Result<Work, Problem> {
        match command {
            Command::Inspect { paths } => {
                self.light(move |builtins, context| inspect::inspect(builtins, &paths, context))
            }
            Command::NewProject { dir, model, data, method } => self
                .light(move |builtins, context| new_project::create(builtins, &dir, &model, &data, &method, context)),
            Command::CopyExample { name, dir } => self.light(move |_, context| {
                builtin::copy_example(&name, &dir)?;
                context.emit(inspect::project_event(&dir)?);
                Ok(())
            }),
            command @ (Command::Preview { .. }
            | Command::Peek { .. }
            | Command::IndexRows { .. }
            | Command::Rows { .. }
            | Command::RowTexts { .. }
            | Command::RowLosses { .. }
            | Command::CleanRows { .. }) => self.plan_rows(command),
            Command::Repair { project } => self.light(move |_, context| repair::repair(&project, context)),
            Command::Housekeep { project, order } => {
                self.light(move |_, context| housekeep::housekeep(&project, &order, context))
            }
            Command::Methods {} => Ok(Work::Answer(
                temper_methods::registry().iter().map(|method| Event::Method(temper_methods::card(*method))).collect(),
            )),
            Command::Prices { model, method, settings } => {
                self.light(move |builtins, context| prices::prices(builtins, &model, (&method, &settings), context))
            }
            Command::Doctor {} => self.light(|_, context| doctor::examine(context)),
            Command::Train { project, set, method, out, resume, max_steps } => {
                // The memory is needed for training.
                self.kept.clear();
                train::plan(&self.builtins, train::Order { project, set, method, out, resume, max_steps })
            }
            Command::Race { project, methods, set } => self.heavy(move |_, kept, context| {
                kept.clear();
                race::race(&race::Order { project, methods, set }, context)
            }),
            Command::Preflight { project } => self.heavy(move |builtins, kept, context| {
                kept.clear();
                train::preflight(builtins, &project, context)
            }),
            Command::BenchTrain(order) => self.heavy(move |builtins, kept, context| {
                kept.clear();
                bench::train(builtins, order, context)
            }),
            Command::BenchData { model, data, batch, seq, threads, preview } => {
                let order = bench::DataOrder { model, data, batch, seq, threads, preview };
                self.heavy(move |builtins, kept, context| {
                    kept.clear();
                    bench::data(builtins, order, context)
                })
            }
            Command::BenchLoad { models, project, threads } => self.heavy(move |builtins, kept, context| {
                kept.clear();
                bench_load::load(builtins, &models, project.as_deref(), threads, context)
            }),
            Command::BenchScale { models, tables, quick, steps, threads } => {
                let order = bench_scale::Order { models, tables, quick, steps, threads };
                self.heavy(move |builtins, kept, context| {
                    kept.clear();
                    bench_scale::scale(builtins, &order, context)
                })
            }
            Command::BenchMethods(order) => self.heavy(move |builtins, kept, context| {
                kept.clear();
                bench_methods::methods(builtins, &order, context)
            }),
            Command::BenchOps { threads, only } => self.heavy(move |_, kept, context| {
                kept.clear();
                bench::ops(threads, only.as_deref(), context)
            }),
            Command::Generate { project, model, prompt, chat, limits } => {
                generate::check(&limits)?;
                self.heavy(move |builtins, kept, context| {
                    let loaded = kept.load(builtins, project.as_deref(), &model, context)?;
                    generate::generate(&loaded, &prompt, chat, limits, context)
                })
            }
            Command::Evaluate { project, model, data, metrics } => {
                let metrics = evaluate::chosen(metrics)?;
                self.heavy(move |builtins, kept, context| {
                    let folder = names::project_dir_of(project.as_deref())?;
                    let path = names::data_path(builtins, &data, &folder)?;
                    let loaded = kept.load(builtins, project.as_deref(), &model, context)?;
                    evaluate::evaluate(&loaded, &data, &path, &metrics, context)
                })
            }
            Command::Compare { project, model, data, rows } => {
                let order = compare::Order { project, model, data, rows };
                self.heavy(move |builtins, kept, context| compare::compare(builtins, kept, &order, context))
            }
            Command::Logits { project, model, tokens, out } => self.heavy(move |builtins, kept, context| {
                let loaded = kept.load(builtins, project.as_deref(), &model, context)?;
                logits::logits(&loaded, &tokens, &out, context)
            }),
            Command::Export { project, source, format, dtype, out, card } => {
                let order = export::Order { project, source, format, dtype, out, card };
                self.heavy(move |builtins, kept, context| {
                    kept.clear();
                    export::export(builtins, &order, context)
                })
            }
            Command::Verify { project, path, against } => self.heavy(move |builtins, kept, context| {
                kept.clear();
                export::verify(builtins, project.as_deref(), &path, against.as_ref(), context)
            }),
            Command::Control { .. }
            | Command::CancelRequest { .. }
            | Command::PauseOnBattery { .. }
            | Command::Shutdown {} => Err(Problem::internal("a command for the engine itself reached the workshop")),
        }
    }
}
