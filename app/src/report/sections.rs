//! What stands in a report, part by part: the same figures and words as in the rooms Watch and Export.

use super::html::{Page, Table};
use super::moment;
use super::plot::{Curve, Picture, svg};
use super::words;
use crate::format;
use crate::reader::experts::Router;
use crate::reader::forgetting::{Measured, Verdict};
use crate::reader::snapshot::ExportRecord;
use crate::reader::words::{sentence_case, status};
use crate::reader::{RunView, checks};
use crate::rooms::watch::speed::phase_words;
use crate::state::export::format_words;
use std::collections::BTreeMap;
use temper_protocol::{ExportFormat, Project};

/// Steps of a table of values.
const VALUE_ROWS: usize = 40;

/// What a report is made of.
pub(super) struct Source<'a> {
    pub(super) view: &'a RunView,
    /// Rank of each site when it was measured first.
    pub(super) first_ranks: BTreeMap<String, u64>,
}

/// A loss with its unit; a dash alone where there is none.
fn loss(nats: f64) -> String {
    if nats.is_finite() { t!("report-nats", value = format::nats(nats)) } else { format::UNKNOWN.to_owned() }
}

fn yes_or_no(value: bool) -> String {
    let word = if value { t!("report-yes") } else { t!("report-no") };
    word.to_owned()
}

impl Source<'_> {
    fn settings(&self) -> Option<&Project> {
        self.view.settings.as_ref()
    }

    /// The title: which run of which project.
    pub(super) fn title(&self) -> String {
        let row = &self.view.row;
        let project = self.settings().map(|settings| settings.name.as_str()).unwrap_or_default();
        match (row.labels.name.as_str(), project) {
            ("", "") => t!("common-run", run = row.run),
            ("", project) => t!("report-title", run = row.run, project = project),
            (name, "") => t!("report-title-named", run = row.run, name = name),
            (name, project) => t!("report-title-both", run = row.run, name = name, project = project),
        }
    }

    /// Writes everything.
    pub(super) fn fill(&self, page: &mut Page) {
        page.paragraph("lead", &t!("report-made", version = env!("CARGO_PKG_VERSION")));
        self.state(page);
        self.figures(page);
        self.loss(page);
        self.forgetting(page);
        self.model_and_data(page);
        self.method(page);
        self.ranks(page);
        self.samples(page);
        self.exports(page);
        self.events(page);
        page.section(t!("report-project-file"));
        page.folded(t!("report-project-file-show"));
        page.verbatim(&self.view.row.settings_toml);
        page.end_folded();
        page.end_section();
    }

    fn state(&self, page: &mut Page) {
        let row = &self.view.row;
        page.section(t!("report-state"));
        let steps = t!("report-of", done = format::count(row.steps), all = format::count(row.max_steps));
        let mut rows = vec![(t!("report-state"), sentence_case(status(&row.status))), (t!("report-steps"), steps)];
        rows.extend(moment(row.created_millis).map(|begun| (t!("report-begun"), begun)));
        if row.wall_secs > 0.0 {
            rows.push((t!("report-time"), format::duration(row.wall_secs)));
        }
        if !row.labels.tags.is_empty() {
            rows.push((t!("report-tags"), row.labels.tags.join(", ")));
        }
        if !row.labels.note.is_empty() {
            rows.push((t!("report-note"), row.labels.note.clone()));
        }
        rows.extend(row.hashes.get("program").map(|hash| (t!("report-program"), hash.clone())));
        page.pairs(&rows);
        if let Some(problem) = &row.problem {
            page.paragraph("err", &sentence_case(&problem.what));
            page.paragraph("lead", &sentence_case(&problem.action));
        }
        page.end_section();
    }

    fn figures(&self, page: &mut Page) {
        let row = &self.view.row;
        page.section(t!("report-figures"));
        let best = match (row.best_loss.is_finite(), row.best_step) {
            (true, step @ 1..) => t!("report-at-step", value = loss(row.best_loss), step = format::count(step)),
            (known, _) => loss(if known { row.best_loss } else { f64::NAN }),
        };
        let share = row.trained_parameters as f64 / row.model_parameters.max(1) as f64;
        let trained = t!(
            "report-parameters-of",
            trained = format::parameters(row.trained_parameters),
            all = format::parameters(row.model_parameters),
            share = format::percent(share)
        );
        let known = |value: f64, words: String| if value > 0.0 { words } else { format::UNKNOWN.to_owned() };
        let speed = t!("report-speed-is", speed = format::speed(row.tokens_per_sec));
        let tokens = self.view.trained_tokens;
        let mut pairs = vec![
            (t!("report-base-loss"), loss(row.base_loss)),
            (t!("report-best-loss"), best),
            (t!("report-final-loss"), loss(row.final_loss)),
            (t!("report-forgetting"), self.forgetting_words()),
            (t!("report-parameters"), trained),
            (t!("report-tokens"), known(tokens, format::count(tokens.max(0.0) as u64))),
            (t!("report-speed"), known(row.tokens_per_sec, speed)),
            (t!("report-memory"), known(row.peak_rss_mib, format::mib(row.peak_rss_mib))),
        ];
        let drawn = |joules: f64| (t!("report-energy"), t!("report-energy-is", energy = format::energy(joules)));
        pairs.extend(self.view.joules.map(drawn));
        page.pairs(&pairs);
        let total: f64 = self.view.phases.iter().map(|(_, secs)| secs).sum();
        let phases = self.view.phases.iter().map(|(phase, secs)| {
            vec![sentence_case(phase_words(phase)), format::duration(*secs), format::percent(secs / total.max(1e-9))]
        });
        let heads = [t!("report-phase"), t!("report-time"), t!("report-share")];
        page.table(&Table { heads: &heads, words: 1, rows: phases.collect() });
        page.end_section();
    }

    /// What the worst kept set lost, beside the budget; or that it is not known.
    fn forgetting_words(&self) -> String {
        let Some(settings) = self.settings() else { return format::signed_nats(self.view.row.forgetting) };
        let budget = settings.keep.budget_nats;
        let measured = Measured::of(self.view);
        let Measured::After { step, worst_nats } = measured else { return t!("report-not-measured").to_owned() };
        let row = &self.view.row;
        let verdict = match measured.verdict(budget, row.steps, !row.is_active()) {
            Verdict::Over => t!("report-over"),
            Verdict::NoNumber => t!("report-no-number"),
            Verdict::Within | Verdict::Stale | Verdict::NotMeasured => t!("report-within"),
        };
        t!(
            "report-forgetting-is",
            nats = format::signed_nats(worst_nats),
            step = format::count(step),
            verdict = verdict,
            budget = format::signed_nats(budget)
        )
    }

    fn loss(&self, page: &mut Page) {
        let view = self.view;
        let curves = vec![
            Curve { name: t!("report-train-raw").to_owned(), points: &view.train_raw, series: 0, faint: true },
            Curve { name: t!("report-train").to_owned(), points: &view.train_smooth, series: 0, faint: false },
            Curve { name: t!("report-validation").to_owned(), points: &view.validation, series: 1, faint: false },
        ];
        let base = view.row.base_loss;
        let level = base.is_finite().then(|| (base, t!("report-base-model").to_owned()));
        let axes = (t!("common-step"), t!("watch-nats-per-token"));
        let picture = Picture { curves, level, sentence: &view.sentence, axes };
        let Some(picture) = svg(&picture) else { return };
        page.section(t!("report-loss"));
        page.figure(&picture, &view.sentence);
        let stride = view.validation.len().div_ceil(VALUE_ROWS).max(1);
        let rows = view.validation.iter().step_by(stride).chain(
            // The last one, where the stride passes over it.
            view.validation.last().filter(|_| !view.validation.len().wrapping_sub(1).is_multiple_of(stride)),
        );
        let rows: Vec<Vec<String>> =
            rows.map(|point| vec![format::count(point.x.max(0.0).round() as u64), format::nats(point.y)]).collect();
        if !rows.is_empty() {
            page.folded(t!("report-values"));
            page.table(&Table { heads: &[t!("report-step"), t!("report-validation-nats")], words: 0, rows });
            page.end_folded();
        }
        page.end_section();
    }

    fn forgetting(&self, page: &mut Page) {
        let view = self.view;
        if view.kept.is_empty() {
            return;
        }
        page.section(t!("report-forgetting"));
        let curves: Vec<Curve<'_>> = (2..)
            .zip(&view.kept)
            .map(|(series, set)| Curve { name: set.name.clone(), points: &set.delta, series, faint: false })
            .collect();
        let budget = self.settings().map(|settings| settings.keep.budget_nats).filter(|budget| budget.is_finite());
        let level = budget.map(|nats| (nats, t!("watch-budget-line", budget = format::signed_nats(nats))));
        let sentence = self.forgetting_words();
        let picture = Picture { curves, level, sentence: &sentence, axes: (t!("common-step"), t!("report-kept-axis")) };
        if let Some(picture) = svg(&picture) {
            page.figure(&picture, &sentence);
        }
        let last = |points: &[egui_plot::PlotPoint]| points.last().map_or(f64::NAN, |point| point.y);
        let rows = view.kept.iter().map(|set| {
            let delta = set.newest_delta().unwrap_or(f64::NAN);
            vec![
                set.name.clone(),
                format::nats(set.base_loss),
                format::nats(set.base_loss + delta),
                format::signed_nats(delta),
                format::nats(last(&set.kl)),
                format::percent(last(&set.flips)),
                format::count(set.positions),
            ]
        });
        let heads = [
            t!("report-kept-set"),
            t!("report-kept-base"),
            t!("report-kept-now"),
            t!("report-kept-change"),
            t!("watch-kl"),
            t!("watch-flips"),
            t!("report-positions"),
        ];
        page.table(&Table { heads: &heads, words: 1, rows: rows.collect() });
        page.paragraph("lead", t!("report-kept-units"));
        page.end_section();
    }

    fn model_and_data(&self, page: &mut Page) {
        let Some(settings) = self.settings() else { return };
        let row = &self.view.row;
        let hash = |name: &str| row.hashes.get(name).filter(|hash| !hash.is_empty()).cloned();
        page.section(t!("common-model"));
        let mut rows = vec![
            (t!("report-file"), format::plain_name(&settings.model.path)),
            (t!("report-base-held"), settings.model.base.clone()),
            (t!("report-parameters"), format::count(row.model_parameters)),
        ];
        if !settings.model.adapters.is_empty() {
            rows.push((t!("report-beneath"), words::sources(&settings.model.adapters)));
        }
        rows.extend(hash("base").map(|hash| (t!("report-hash"), hash)));
        page.pairs(&rows);
        page.end_section();
        page.section(t!("common-data"));
        let data = &settings.data;
        let mut rows = vec![
            (t!("report-files"), words::sources(&data.train)),
            (t!("report-schema"), data.schema.clone()),
            (t!("report-validation-rows"), words::validation(&data.validation)),
            (t!("report-longest"), t!("report-tokens-are", count = format::count(data.max_tokens as u64))),
            (t!("report-packing"), yes_or_no(data.packing)),
            (t!("report-loss-on"), data.loss_on.clone()),
        ];
        rows.extend(hash("data").map(|hash| (t!("report-hash"), hash)));
        page.pairs(&rows);
        page.end_section();
    }

    fn method(&self, page: &mut Page) {
        page.section(t!("common-method"));
        let Some(settings) = self.settings() else {
            page.paragraph("", &self.view.row.method);
            page.end_section();
            return;
        };
        let mut rows: Vec<Vec<String>> = vec![vec!["method.id".to_owned(), self.view.row.method.clone()]];
        let own = settings.method.settings.0.iter();
        rows.extend(own.map(|(key, value)| vec![format!("method.{key}"), value.to_string()]));
        let train = &settings.train;
        let length = match train.epochs {
            Some(epochs) => ("train.epochs", format::plain(epochs)),
            None => ("train.steps", format::count(train.steps)),
        };
        let others = [
            length,
            ("train.batch", train.batch.to_string()),
            ("train.accumulate", train.accumulate.to_string()),
            ("train.lr_peak", format::rate(train.lr_peak)),
            ("train.schedule", train.schedule.clone()),
            ("train.warmup_steps", format::count(train.warmup_steps)),
            ("train.weight_decay", format::plain(train.weight_decay)),
            ("train.clip_norm", format::plain(train.clip_norm)),
            ("train.seed", train.seed.to_string()),
            ("keep.budget_nats", format::plain(settings.keep.budget_nats)),
            ("keep.on_exceed", settings.keep.on_exceed.clone()),
        ];
        rows.extend(others.into_iter().map(|(key, value)| vec![key.to_owned(), value]));
        rows.extend(train.from.iter().map(|from| vec!["train.from".to_owned(), format::plain_name(from)]));
        page.table(&Table { heads: &[t!("report-setting"), t!("report-value")], words: 2, rows });
        page.end_section();
    }

    /// What the routers choose, where layers have some.
    fn experts(&self, page: &mut Page) {
        let routers = &self.view.experts.routers;
        if routers.is_empty() {
            return;
        }
        let row = |router: &Router| {
            vec![
                router.site.clone(),
                router.load.len().to_string(),
                router.busiest().map_or_else(|| format::UNKNOWN.to_owned(), |(_, share)| format::percent(share)),
                router.dead.to_string(),
                format!("{:.2}", router.entropy),
                format!("{:.2}", router.most_entropy()),
            ]
        };
        let rows = routers.iter().map(row).collect();
        page.folded(t!("report-experts-show"));
        let heads = [
            t!("report-layer"),
            t!("report-experts"),
            t!("report-experts-busiest"),
            t!("report-experts-idle"),
            t!("report-experts-entropy"),
            t!("report-experts-most"),
        ];
        page.table(&Table { heads: &heads, words: 1, rows });
        page.end_folded();
    }

    fn ranks(&self, page: &mut Page) {
        let rank = &self.view.rank;
        if rank.steps.is_empty() {
            return;
        }
        page.section(t!("common-rank-tab"));
        let rows: Vec<Vec<String>> = rank
            .rows()
            .chain(&rank.others)
            .map(|row| {
                let first = self.first_ranks.get(&row.site).map_or_else(|| format::UNKNOWN.to_owned(), u64::to_string);
                vec![
                    row.site.clone(),
                    first,
                    row.rank.to_string(),
                    format!("{:.1}", row.effective_rank),
                    format::percent(row.energy),
                ]
            })
            .collect();
        page.paragraph(
            "lead",
            &t!("report-ranks-at", count = format::count(rows.len() as u64), step = format::count(rank.step)),
        );
        page.folded(t!("report-ranks-show"));
        let heads = [
            t!("report-layer"),
            t!("report-rank-first"),
            t!("report-rank-now"),
            t!("report-rank-effective"),
            t!("report-rank-change"),
        ];
        page.table(&Table { heads: &heads, words: 1, rows });
        page.end_folded();
        self.experts(page);
        page.end_section();
    }

    fn samples(&self, page: &mut Page) {
        let answered =
            |sample: &&crate::reader::snapshot::SamplePrompt| sample.base.is_some() || !sample.answers.is_empty();
        let mut samples = self.view.samples.iter().filter(answered).peekable();
        if samples.peek().is_none() {
            return;
        }
        page.section(t!("report-samples"));
        for sample in samples {
            page.subtitle(&sample.prompt);
            let shown =
                |text: &str| if text.is_empty() { t!("watch-empty-answer").to_owned() } else { text.to_owned() };
            let none = || t!("watch-not-answered").to_owned();
            let base = sample.base.as_deref().map_or_else(none, shown);
            let (name, answer) = match sample.answers.last() {
                Some((step, text)) => (t!("report-answer-at", step = format::count(*step)), shown(text)),
                None => (t!("watch-adapted").to_owned(), none()),
            };
            page.side_by_side((t!("watch-base"), &base), (&name, &answer));
        }
        page.end_section();
    }

    fn exports(&self, page: &mut Page) {
        if self.view.exports.is_empty() {
            return;
        }
        page.section(t!("report-exports"));
        for record in &self.view.exports {
            certificate(page, record);
        }
        page.end_section();
    }

    fn events(&self, page: &mut Page) {
        let events = &self.view.events;
        if events.is_empty() {
            return;
        }
        page.section(t!("watch-events"));
        page.folded(&t!("report-events-show", count = format::count(events.len() as u64)));
        let rows = events.iter().map(|line| {
            let when = moment(line.at_millis).unwrap_or_else(|| format::UNKNOWN.to_owned());
            vec![when, line.kind.name().to_owned(), line.text.clone(), format::count(line.step)]
        });
        let heads = [t!("report-when"), t!("report-kind"), t!("report-what"), t!("report-step")];
        page.table(&Table { heads: &heads, words: 3, rows: rows.collect() });
        page.end_folded();
        page.end_section();
    }
}

/// An export with what was checked.
fn certificate(page: &mut Page, record: &ExportRecord) {
    let what = match ExportFormat::from_name(&record.format) {
        Some(format) => format_words(format),
        None => record.format.as_str(),
    };
    let (class, words) = match record.pass {
        Some(true) => ("ok", t!("export-passed", what = what)),
        Some(false) => ("err", t!("export-refused", what = what)),
        None => ("warn", t!("report-unchecked", what = what)),
    };
    page.subtitle(what);
    page.paragraph(class, &words);
    let name = format::file_name(&record.path.display().to_string()).to_owned();
    let mut rows = vec![(t!("report-file"), name)];
    if record.bytes > 0 {
        rows.push((t!("report-size"), format::bytes(record.bytes)));
    }
    if !record.sha256.is_empty() {
        rows.push((t!("report-hash"), record.sha256.clone()));
    }
    page.pairs(&rows);
    let made = record.checks.iter().map(|check| {
        let verdict = if check.pass { t!("report-passed") } else { t!("report-refused") };
        vec![
            sentence_case(&check.name),
            verdict.to_owned(),
            checks::measured(check),
            checks::limit(check),
            format::figures(&check.over),
        ]
    });
    let heads = [
        t!("export-head-check"),
        t!("report-verdict"),
        t!("export-head-measured"),
        t!("export-head-limit"),
        t!("export-head-over"),
    ];
    page.table(&Table { heads: &heads, words: 2, rows: made.collect() });
    for reason in &record.reasons {
        page.paragraph("", &checks::reason(&record.checks, reason));
    }
}
