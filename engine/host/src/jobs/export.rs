//! `export` and `verify`: a result leaves the program, and is proved.
//!
//! A run over a base that was rounded in memory (nf4, int8) leaves in two ways, and says which. Merged models are made
//! of the rounded weights, as PEFT merges into dequantised ones: the file holds what was trained and measured. Adapters
//! go onto the weights of the file, which is what other programs put them on, and are certified there.

use super::beneath;
use super::capsule;
use super::cases::cases;
use super::load::{checkpoint_of, short_name};
use crate::builtin::Builtins;
use crate::job::JobContext;
use crate::names::{self, FoundRun};
use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_export::{Card, ExportRequest};
use temper_models::{BaseKind, Model};
use temper_protocol::command::ExportSource;
use temper_protocol::{CAPSULE_FILE, Code, Event, ExportFormat, Problem, Project, RunRef, StorageType};
use temper_store::{Reader, Store};
use temper_train::checkpoint::Meta;
use temper_train::hashes;
use temper_train::prepare::{load_base, load_codec};

/// A result and where it comes from.
struct Source {
    model: Model,
    codec: TextCodec,
    card: Card,
    /// The run, with its project and the folder that its paths start from.
    run: Option<(FoundRun, Project, PathBuf)>,
}

/// What is to be written.
pub(super) struct Order {
    pub(super) project: Option<PathBuf>,
    pub(super) source: ExportSource,
    pub(super) format: ExportFormat,
    pub(super) dtype: Option<StorageType>,
    pub(super) out: PathBuf,
    pub(super) card: Option<String>,
}

/// Most bytes of a written card.
const LONGEST_CARD: usize = 1 << 20;

/// The written text of the card, without a front matter; none when nobody wrote one.
fn card_body(order: &Order) -> Result<Option<String>, Problem> {
    let Some(card) = &order.card else { return Ok(None) };
    let place = || order.out.display().to_string();
    let is_file = temper_export::output::Layout::of(&order.out).is_file();
    if is_file && matches!(order.format, ExportFormat::Gguf | ExportFormat::GgufLora) {
        let action = "leave the card away, or write into a folder: a name that does not end in .gguf";
        return Err(Problem::new(Code::Usage, "a lone GGUF file has no place for a model card", place(), action));
    }
    if card.len() > LONGEST_CARD {
        let what = format!("the model card has {} bytes", card.len());
        return Err(Problem::new(Code::Usage, what, place(), format!("shorten it to {LONGEST_CARD} bytes")));
    }
    Ok(Some(temper_export::body_of(card).to_owned()))
}

/// Writes, checks and puts on record.
pub(super) fn export(builtins: &Builtins, order: &Order, context: &JobContext) -> Result<(), Problem> {
    let body = card_body(order)?;
    if order.format == ExportFormat::Capsule {
        return capsule::export(builtins, order, body, context);
    }
    let project_dir = names::project_dir_of(order.project.as_deref())?;
    let mut source = match &order.source {
        ExportSource::Run { run, step } => of_run(builtins, &project_dir, run, *step, order.format, context)?,
        ExportSource::Adapter { path, model } => of_adapter(builtins, path, model, &project_dir, context)?,
    };
    source.card.body = body;
    context.check_cancelled()?;
    let project = source.run.as_ref().map(|(_, project, folder)| (project, folder.as_path()));
    let cases = cases(builtins, project, &source.model, &source.codec)?;
    let request = ExportRequest {
        model: &source.model,
        codec: &source.codec,
        format: order.format,
        dtype: order.dtype,
        out: &order.out,
        card: &source.card,
        cases: &cases,
    };
    let mut said = Vec::new();
    let mut emit = |event: Event| {
        if matches!(event, Event::Written { .. } | Event::Certificate { .. }) {
            said.push(event.clone());
        }
        context.emit(event);
    };
    let exported = temper_export::export(&request, &mut emit, &|| context.is_cancelled())?;
    if exported.certificate.pass()
        && let Some((run, _, folder)) = &source.run
    {
        put_on_record(folder, run, &said);
    }
    Ok(())
}

/// Notes an export in the project's database, so that `verify` finds its run, and what was said of it among the run's
/// events, so that its certificate outlives the window. An export is whole without either.
pub(super) fn put_on_record(project_dir: &Path, run: &FoundRun, said: &[Event]) {
    if run.row.is_none() {
        return;
    }
    let noted = Store::open(project_dir).and_then(|store| {
        for event in said {
            if let Event::Written { path, bytes, sha256, .. } = event {
                store.record_file(run.run, path, sha256, *bytes)?;
            }
            store.push_event(run.run, event)?;
        }
        store.flush()
    });
    if let Err(error) = noted {
        tracing::warn!(%error, "the export is not on record in the project");
    }
}

/// Checks an export again.
pub(super) fn verify(
    builtins: &Builtins,
    project: Option<&Path>,
    path: &Path,
    against: Option<&RunRef>,
    context: &JobContext,
) -> Result<(), Problem> {
    let project_dir = names::project_dir_of(project)?;
    if !path.exists() {
        return Err(Problem::new(
            Code::NotFound,
            "there is no export here",
            path.display().to_string(),
            "give the folder or GGUF file that was written",
        ));
    }
    // A capsule says itself which run it is of, and may be of another machine's.
    if path.join(CAPSULE_FILE).is_file() || matches!(temper_export::format_of(path), Ok(ExportFormat::Capsule)) {
        return capsule::verify(builtins, project, path, against, context);
    }
    let run = match against {
        Some(run) => run.clone(),
        None => run_that_wrote(&project_dir, path)?,
    };
    let format = temper_export::format_of(path)?;
    let source = of_run(builtins, &project_dir, &run, None, format, context)?;
    let project = source.run.as_ref().map(|(_, project, folder)| (project, folder.as_path()));
    let cases = cases(builtins, project, &source.model, &source.codec)?;
    let mut emit = |event: Event| context.emit(event);
    temper_export::verify(&source.model, &source.codec, (path, &source.card.beneath), &cases, &mut emit, &|| {
        context.is_cancelled()
    })?;
    Ok(())
}

/// The run on whose record the export is.
fn run_that_wrote(project_dir: &Path, path: &Path) -> Result<RunRef, Problem> {
    let wanted = crate::projects::key(path);
    let reader = Reader::open(project_dir).map_err(Problem::from);
    let found = reader.and_then(|reader| {
        for row in reader.runs()? {
            if reader.files(row.run)?.iter().any(|file| crate::projects::key(&file.path) == wanted) {
                return Ok(Some(row.run));
            }
        }
        Ok(None)
    });
    match found {
        Ok(Some(run)) => Ok(RunRef::Id(run)),
        Ok(None) | Err(_) => Err(Problem::new(
            Code::NotFound,
            "it is not on record which run this export came from",
            path.display().to_string(),
            "name the run with --against, and its project with --project",
        )),
    }
}

fn of_run(
    builtins: &Builtins,
    project_dir: &Path,
    wanted: &RunRef,
    step: Option<u64>,
    format: ExportFormat,
    context: &JobContext,
) -> Result<Source, Problem> {
    let found = names::find_run(project_dir, wanted)?;
    let folder = names::home_of(&found.folder, project_dir);
    let mut project = names::frozen_project(&found, &folder)?;
    names::find_again(&mut project, &folder);
    // `RUN@step` of a folder may also be written as the checkpoint's folder.
    let checkpoint = match (wanted, step) {
        (RunRef::Path(path), None) if path.join(temper_train::checkpoint::STATE_FILE).is_file() => path.clone(),
        _ => checkpoint_of(&found.folder, step)?,
    };
    let model_path = names::model_path(builtins, &project.model.path, &folder)?;
    let mut progress = |stage: &str, done: u64, total: u64| context.progress(stage, done, total, "bytes");
    let rounded = rounded_base(&project, format)?;
    let held_as = rounded.as_ref().and_then(|rounded| rounded.held_as);
    let adapters = beneath::resolve(&project, &folder)?;
    let below = beneath::for_trainer(adapters.clone());
    let trained = temper_train::load_trained(&checkpoint, &model_path, true, held_as, below.as_ref(), &mut progress)?;
    let mut card = Card { beneath: adapters, ..card_of_run(&project, &folder, &trained.meta)? };
    if let Some(rounded) = rounded {
        card.facts.push(("base while training".to_owned(), rounded.fact));
        context.emit(Event::Warning { code: "base".to_owned(), text: rounded.text, step: 0 });
    }
    Ok(Source { model: trained.model, codec: trained.codec, card, run: Some((found, project, folder)) })
}

/// What an export does about a base that was rounded in memory.
struct RoundedBase {
    /// Storage that replaces the project's.
    held_as: Option<&'static str>,
    /// For the model card.
    fact: String,
    /// For the person who exports.
    text: String,
}

/// None when the run trained over the weights as a file can hold them.
fn rounded_base(project: &Project, format: ExportFormat) -> Result<Option<RoundedBase>, Problem> {
    let base: BaseKind = project.model.base.parse()?;
    let method = temper_methods::find(&project.method.id)?;
    let as_adapter = matches!(format, ExportFormat::Peft | ExportFormat::GgufLora | ExportFormat::Mlx);
    if as_adapter && method.belongs_to_its_base(&project.method.settings) {
        let what = format!(
            "{} starts with what rounding the base took away, so its adapter fits those rounded weights alone, which no \
             other program has",
            method.declared().title
        );
        let action = "export to hf or gguf: the rounded weights with the change merged in are exact there";
        return Err(Problem::new(Code::MethodInvalid, what, "[method]", action));
    }
    if !base.is_memory_only() {
        return Ok(None);
    }
    Ok(Some(match format {
        ExportFormat::Hf | ExportFormat::Gguf => RoundedBase {
            held_as: None,
            fact: format!("{base}, and the change is merged into its values"),
            text: format!(
                "merged into the {base} values that it was trained over, as PEFT does: the result holds what was \
                 trained and measured, not the base's original weights with a change"
            ),
        },
        ExportFormat::Peft
        | ExportFormat::GgufLora
        | ExportFormat::Native
        | ExportFormat::Mlx
        | ExportFormat::Capsule => RoundedBase {
            held_as: Some("auto"),
            fact: format!("{base}; the adapter goes onto the original weights"),
            text: format!(
                "the adapter was trained over {base} values and is certified on the base's original weights, which \
                 other programs load: it answers there a little differently than while training"
            ),
        },
    }))
}

/// A PEFT folder on the base it was trained on.
fn of_adapter(
    builtins: &Builtins,
    adapter: &Path,
    model_name: &str,
    base_dir: &Path,
    context: &JobContext,
) -> Result<Source, Problem> {
    let model_path = names::model_path(builtins, model_name, base_dir)?;
    let base_name = short_name(model_name);
    let plain = Project::new(&base_name, model_name, &[], "lora");
    let mut progress = |stage: &str, done: u64, total: u64| context.progress(stage, done, total, "bytes");
    let mut model = load_base(&plain, &model_path, &mut progress)?;
    let codec = load_codec(&model.source, &model_path, &plain)?;
    let sites = temper_export::read_peft::attach(&mut model, adapter)?;
    let summary = temper_export::read_peft::describe(adapter)?;
    let name = adapter.file_name().map_or_else(|| "adapter".to_owned(), |name| name.to_string_lossy().into_owned());
    let card = Card {
        name,
        base_name,
        base_sha256: hashes::of_paths(&[model_path])?,
        method: summary.peft_type.to_lowercase(),
        method_title: summary.peft_type,
        dropout: 0.0,
        facts: vec![("rank".to_owned(), summary.rank.to_string()), ("adapted layers".to_owned(), sites.to_string())],
        beneath: Vec::new(),
        body: None,
    };
    Ok(Source { model, codec, card, run: None })
}

/// What people should know of a result, without times, paths and run numbers: equal results have equal cards.
pub(super) fn card_of_run(project: &Project, folder: &Path, meta: &Meta) -> Result<Card, Problem> {
    let declared = temper_methods::find(&meta.method)?.declared();
    let name = if project.name.is_empty() {
        folder.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
    } else {
        project.name.clone()
    };
    let nats = |value: f64| if value.is_finite() { format!("{value:.4}") } else { "not measured".to_owned() };
    let state = &meta.state;
    let mut facts = vec![
        ("step".to_owned(), state.step.to_string()),
        ("trained tokens".to_owned(), state.trained_tokens.to_string()),
        ("validation loss of the base, nats".to_owned(), nats(state.evals.base_loss.0)),
        ("validation loss, nats".to_owned(), nats(state.evals.last_loss.0)),
        ("forgetting, nats".to_owned(), nats(state.keep.forgetting.0)),
        ("peak learning rate".to_owned(), project.train.lr_peak.to_string()),
        ("seed".to_owned(), project.train.seed.to_string()),
    ];
    for setting in declared.settings {
        if let Some(value) = project.method.settings.0.get(setting.key) {
            facts.push((setting.label.to_lowercase(), value.to_string()));
        }
    }
    Ok(Card {
        name,
        base_name: short_name(&project.model.path),
        base_sha256: meta.hashes.base.clone(),
        method: meta.method.clone(),
        method_title: declared.title.to_owned(),
        dropout: project.method.settings.number("dropout"),
        facts,
        beneath: Vec::new(),
        body: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(format: ExportFormat, out: &str, card: &str) -> Order {
        let source = ExportSource::Run { run: RunRef::Last, step: None };
        Order { project: None, source, format, dtype: None, out: PathBuf::from(out), card: Some(card.to_owned()) }
    }

    #[test]
    fn a_written_card_goes_into_a_folder_without_its_front_matter() {
        let body = card_body(&order(ExportFormat::Peft, "out", "---\ntags: x\n---\n# A\n")).expect("a card");
        assert_eq!(body.as_deref(), Some("# A\n"));
        assert!(card_body(&order(ExportFormat::Gguf, "folder", "# A")).is_ok());
        let lone = card_body(&order(ExportFormat::Gguf, "m.gguf", "# A")).expect_err("no place for it");
        assert_eq!(lone.code, Code::Usage);
        let long = "x".repeat(LONGEST_CARD + 1);
        assert!(card_body(&order(ExportFormat::Hf, "out", &long)).is_err());
        let none = Order { card: None, ..order(ExportFormat::Gguf, "m.gguf", "") };
        assert_eq!(card_body(&none).expect("nothing asked"), None);
    }
}
