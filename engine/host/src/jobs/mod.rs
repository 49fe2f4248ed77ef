//! The work behind each command, one file per command.
//!
//! Place in the data flow: the intake thread asks [`Program`] what a command means; the jobs it returns
//! call the other engine crates and emit what they say.

mod inspect;
mod new_project;

use crate::builtin::{self, Builtins};
use crate::job::{JobContext, Work, Workshop};
use std::sync::Arc;
use temper_protocol::{Command, Event, Problem};

/// What the program can do.
pub struct Program {
    builtins: Arc<Builtins>,
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
        Self { builtins: Arc::new(builtins) }
    }

    fn light(
        &self,
        work: impl FnOnce(&Builtins, &JobContext) -> Result<(), Problem> + Send + 'static,
    ) -> Result<Work, Problem> {
        let builtins = Arc::clone(&self.builtins);
        Ok(Work::Light(Box::new(move |context: &JobContext| work(&builtins, context))))
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
            Command::Methods {} => Ok(Work::Answer(
                temper_methods::registry().iter().map(|method| Event::Method(method.declared().card())).collect(),
            )),
            other => Err(Problem::internal(format!("the engine has no work for {other:?}"))),
        }
    }
}
