//! The tree of the card Model: modules and their single layers, each with a box that says whether it is adapted.
//!
//! Place in the data flow: what is ticked follows from the method's settings in the form, as
//! [`crate::state::targets`] reads them; a click is an edit of those settings, which undo takes back.

use super::section;
use crate::commands::UiCommand;
use crate::format;
use crate::reader::ranks::split_site;
use crate::rooms::PanelCtx;
use crate::state::draft::ALONE;
use crate::state::targets::{self, Chosen};
use crate::theme::{Type, icons};
use crate::widgets::button::Weight;
use crate::widgets::field::{self, Field};
use crate::widgets::rows::Rows;
use crate::widgets::{Button, choice, text};
use egui::{Align, Rect, Ui, pos2, vec2};
use temper_protocol::SettingType;
use temper_protocol::event::SiteInfo;

/// Most single layers that a search lists.
const MOST_FOUND: usize = 64;
/// Width of the list of numbers of blocks.
const LAST: f32 = 84.0;

/// A module with the shapes of its sites.
struct Module<'a> {
    name: &'a str,
    shape: String,
    /// Places of its sites among all.
    sites: Vec<usize>,
}

/// The tree, and what of it is adapted; nothing where the method has no choice of layers.
struct Tree<'a> {
    sites: &'a [SiteInfo],
    modules: Vec<Module<'a>>,
    layers: usize,
    others: Vec<usize>,
    chosen: Option<Chosen>,
}

impl<'a> Tree<'a> {
    fn new(cx: &PanelCtx<'_>, sites: &'a [SiteInfo]) -> Self {
        let mut modules: Vec<Module<'a>> = Vec::new();
        let mut layers = std::collections::BTreeSet::new();
        let mut others = Vec::new();
        for (place, site) in sites.iter().enumerate() {
            let Some((layer, name)) = split_site(&site.site) else {
                others.push(place);
                continue;
            };
            layers.insert(layer);
            match modules.iter_mut().find(|known| known.name == name) {
                Some(known) => known.sites.push(place),
                None => modules.push(Module { name, shape: shape(site), sites: vec![place] }),
            }
        }
        let setting = cx.state.method().and_then(|card| card.settings.iter().find(|setting| setting.key == "targets"));
        let settings = &cx.state.draft.project.method.settings;
        let chosen = setting.map(|setting| targets::chosen(settings, &setting.default, sites));
        Self { sites, modules, layers: layers.len(), others, chosen }
    }

    fn is_on(&self, place: usize) -> bool {
        self.chosen.as_ref().is_some_and(|chosen| chosen.on.get(place) == Some(&true))
    }

    /// How many of these are adapted.
    fn count(&self, places: &[usize]) -> usize {
        places.iter().filter(|place| self.is_on(**place)).count()
    }

    /// Whether every layer of every module is adapted.
    fn is_whole(&self) -> bool {
        self.modules.iter().all(|module| self.count(&module.sites) == module.sites.len())
    }

    /// The choice with these as said.
    fn with(&self, places: &[usize], on: bool) -> Vec<bool> {
        let mut all = self.chosen.as_ref().map(|chosen| chosen.on.clone()).unwrap_or_default();
        for place in places {
            if let Some(one) = all.get_mut(*place) {
                *one = on;
            }
        }
        all
    }

    /// Makes a choice the form's. Nothing to adapt is nothing to train: that is no edit.
    fn choose(&self, cx: &PanelCtx<'_>, on: &[bool]) {
        if !on.contains(&true) {
            return;
        }
        let setting = cx.state.method().and_then(|card| card.settings.iter().find(|setting| setting.key == "targets"));
        let is_list = setting.is_some_and(|setting| setting.kind == SettingType::List);
        // Each click is taken back by itself.
        let key = format!("method.targets{ALONE}");
        cx.edit(&key, |project| targets::write(&mut project.method.settings, on, self.sites, is_list));
    }
}

fn shape(site: &SiteInfo) -> String {
    format!("{} × {}", site.out_features, site.in_features)
}

/// Shows the tree.
pub(super) fn tree_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, sites: &[SiteInfo]) {
    let tree = Tree::new(cx, sites);
    let all = format::count(sites.len() as u64);
    let note = match &tree.chosen {
        Some(chosen) => t!("model-sites-chosen", chosen = format::count(chosen.count() as u64), count = all),
        None => t!("model-sites-count", n = sites.len(), count = all),
    };
    section(cx, ui, lines.next(24.0), t!("model-sites"), &note);
    if sites.is_empty() {
        return;
    }
    lines.gap(2.0);
    let query = &cx.state.setup.site_query;
    let place = lines.next(26.0);
    let search = Field {
        hint: t!("model-search"),
        icon: Some(icons::MAGNIFYING_GLASS),
        ..Field::new(t!("model-search"), query)
    };
    if let Some(text) = field::show(ui, cx.theme, place, search).changed {
        cx.send(UiCommand::SiteQuery(text));
    }
    lines.gap(4.0);
    unread_ui(cx, ui, lines, &tree);
    all_ui(cx, ui, lines, &tree);
    let wanted = query.to_lowercase();
    let shown: Vec<&Module<'_>> =
        tree.modules.iter().filter(|module| module.name.to_lowercase().contains(&wanted)).collect();
    for module in &shown {
        module_ui(cx, ui, lines, &tree, module);
    }
    // A search such as "17.attn" is for single layers.
    if !wanted.is_empty() && shown.is_empty() {
        let fits = |place: &usize| sites.get(*place).is_some_and(|site| site.site.to_lowercase().contains(&wanted));
        let found: Vec<usize> = (0..sites.len()).filter(fits).take(MOST_FOUND).collect();
        leaves(cx, ui, lines, &tree, &found);
    }
    if shown.len() < tree.modules.len() {
        let hidden = t!("model-hidden", more = tree.modules.len() - shown.len());
        text::line(ui, lines.next(22.0), Align::Min, &hidden, Type::Body, cx.c().text2);
    }
    others_ui(cx, ui, lines, &tree);
}

/// What of the settings cannot be shown as ticks.
fn unread_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, tree: &Tree<'_>) {
    let Some(chosen) = tree.chosen.as_ref().filter(|chosen| !chosen.unread.is_empty()) else { return };
    let words = t!("model-pattern", entries = chosen.unread.join(", "));
    let top = pos2(lines.area.left() + 22.0, lines.y);
    text::icon(ui.painter(), pos2(lines.area.left() + 7.0, lines.y + 9.0), icons::INFO, 16.0, cx.c().info);
    lines.y += text::block(ui, top, lines.area.width() - 22.0, &words, Type::Body, cx.c().text) + 4.0;
}

/// The row of all layers, and the one that keeps the last blocks only.
fn all_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, tree: &Tree<'_>) {
    let c = cx.c();
    let head = lines.next(22.0);
    if tree.chosen.is_some() {
        let all = tree.is_whole();
        let place = head.with_max_x(head.left() + 100.0);
        let response = choice::check_mark(ui, cx.theme, place, t!("model-adapt-all"), all);
        if response.on_hover_text(t!("model-adapt-all-tip")).clicked() && !all {
            let every: Vec<usize> = tree.modules.iter().flat_map(|module| module.sites.iter().copied()).collect();
            tree.choose(cx, &tree.with(&every, true));
        }
    } else {
        text::icon(ui.painter(), pos2(head.left() + 7.0, head.center().y), icons::CHECK_BOLD, 12.0, c.text2);
    }
    let name = head.with_min_x(head.left() + 22.0);
    text::line(ui, name, Align::Min, t!("model-layers"), Type::Mono, c.text);
    let per_layer = tree.sites.len().saturating_sub(tree.others.len()) / tree.layers.max(1);
    let words = t!("model-layers-sites", layers = tree.layers, per_layer = per_layer);
    let last = tree.chosen.is_some() && tree.layers > 1;
    if last && !cx.compact {
        let from = name.left() + text::width(ui, t!("model-layers"), Type::Mono) + 10.0;
        let place = head.with_min_x(from).with_max_x(head.right() - LAST - 8.0);
        if text::width(ui, &words, Type::Body) <= place.width() {
            text::line(ui, place, Align::Min, &words, Type::Body, c.text2);
        }
        last_ui(cx, ui, head, tree, (t!("model-last"), None));
        return;
    }
    text::line(ui, head, Align::Max, &words, Type::Body, c.text2);
    if last {
        // In a small window it has a row of its own.
        let row = lines.next(26.0);
        let words = row.with_min_x(row.left() + 22.0).with_max_x(row.right() - LAST - 8.0);
        text::data(ui, words, Align::Min, t!("model-last"), Type::Body, c.text2);
        last_ui(cx, ui, row, tree, (t!("model-last"), None));
    }
}

/// The list of numbers of blocks at the right end of `row`: of `module`, or of all modules that are adapted.
fn last_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, tree: &Tree<'_>, (name, module): (&str, Option<&str>)) {
    let choices: Vec<String> = (1..tree.layers).map(|count| t!("model-last-count", count = count)).collect();
    let place = Rect::from_min_max(pos2(row.right() - LAST, row.top() + 1.0), pos2(row.right(), row.bottom() - 1.0));
    let Some(index) = choice::select(ui, cx.theme, place, name, &choices, None) else { return };
    let Some(chosen) = &tree.chosen else { return };
    tree.choose(cx, &targets::last(&chosen.on, tree.sites, module, index as u64 + 1));
}

fn module_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, tree: &Tree<'_>, module: &Module<'_>) {
    let c = cx.c();
    let row = lines.next(22.0);
    let open = cx.state.setup.open_module.as_deref() == Some(module.name);
    let (icon, name) = if open {
        (icons::CARET_DOWN, t!("model-fold", name = module.name))
    } else {
        (icons::CARET_RIGHT, t!("model-unfold", name = module.name))
    };
    let caret = Rect::from_min_size(pos2(row.left() - 2.0, row.top() + 1.0), vec2(20.0, 20.0));
    if Button::icon_only(icon, &name).show(ui, cx.theme, caret).clicked() {
        cx.send(UiCommand::OpenModule((!open).then(|| module.name.to_owned())));
    }
    let row_in = row.with_min_x(row.left() + 22.0);
    let (count, all) = (tree.count(&module.sites), module.sites.len());
    let whole = count == all;
    if tree.chosen.is_some() {
        let place = row_in.with_max_x(row_in.left() + 120.0);
        let name = t!("model-adapt", name = module.name);
        let tip = t!("model-layers-of", sites = all, shape = module.shape);
        if choice::check_mark(ui, cx.theme, place, &name, whole).on_hover_text(tip).clicked() {
            tree.choose(cx, &tree.with(&module.sites, !whole));
        }
    }
    let words = row_in.with_min_x(row_in.left() + 22.0).with_max_x(row.right() - 90.0);
    text::data(ui, words, Align::Min, module.name, Type::Mono, c.text);
    // Some of its layers: the box says no, and how many they are stands in the place of their shape.
    let some = (count > 0 && !whole).then(|| t!("model-some", count = count, all = all));
    text::line(ui, row, Align::Max, some.as_deref().unwrap_or(&module.shape), Type::Mono, c.text2);
    if open {
        if tree.chosen.is_some() && all > 1 {
            helps_ui(cx, ui, lines.next(26.0), tree, module);
        }
        leaves(cx, ui, lines, tree, &module.sites);
    }
}

/// All, none, or the last layers of a module.
fn helps_ui(cx: &PanelCtx<'_>, ui: &mut Ui, row: Rect, tree: &Tree<'_>, module: &Module<'_>) {
    let count = tree.count(&module.sites);
    // Something has to be trained.
    let spare = tree.chosen.as_ref().is_some_and(|chosen| chosen.count() > count);
    let helps = [
        (t!("model-all"), t!("model-all-of", name = module.name), true, count < module.sites.len()),
        (t!("model-none-of"), t!("model-none-of-name", name = module.name), false, count > 0 && spare),
    ];
    let mut x = row.left() + 22.0;
    for (label, name, on, enabled) in &helps {
        let button = Button::new(label).weight(Weight::Link).name(name).tooltip(name).enabled(*enabled);
        let width = button.width(ui);
        let at = Rect::from_min_size(pos2(x, row.center().y - 10.0), vec2(width, 20.0));
        if button.show(ui, cx.theme, at).clicked() {
            tree.choose(cx, &tree.with(&module.sites, *on));
        }
        x = at.right() + 14.0;
    }
    last_ui(cx, ui, row, tree, (&t!("model-last-of", name = module.name), Some(module.name)));
}

/// Single layers with their shape and how the file stores them.
fn leaves(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, tree: &Tree<'_>, places: &[usize]) {
    let c = cx.c();
    for place in places {
        let Some(site) = tree.sites.get(*place) else { continue };
        let row = lines.next(18.0);
        let words = format!("{}  {}", shape(site), site.storage);
        let width = text::width(ui, &words, Type::MonoCaption);
        text::line(ui, row, Align::Max, &words, Type::MonoCaption, c.text2);
        let right = row.right() - width - 8.0;
        if tree.chosen.is_some() {
            let on = tree.is_on(*place);
            let at = Rect::from_min_max(pos2(row.left() + 22.0, row.top()), pos2(right, row.bottom()));
            let name = t!("model-adapt", name = site.site);
            if choice::check_mark(ui, cx.theme, at, &name, on).on_hover_text(&name).clicked() {
                tree.choose(cx, &tree.with(&[*place], !on));
            }
        }
        let at = Rect::from_min_max(pos2(row.left() + 44.0, row.top()), pos2(right, row.bottom()));
        text::data(ui, at, Align::Min, &site.site, Type::MonoCaption, c.text2);
    }
}

/// What lies beside the blocks.
fn others_ui(cx: &PanelCtx<'_>, ui: &mut Ui, lines: &mut Rows, tree: &Tree<'_>) {
    let c = cx.c();
    for site in tree.others.iter().take(3).filter_map(|place| tree.sites.get(*place)) {
        let row = lines.next(22.0);
        text::icon(ui.painter(), pos2(row.left() + 7.0, row.center().y), icons::LOCK_SIMPLE, 14.0, c.text3);
        let words = row.with_min_x(row.left() + 22.0).with_max_x(row.right() - 90.0);
        text::data(ui, words, Align::Min, &site.site, Type::Mono, c.text2);
        text::line(ui, row, Align::Max, &shape(site), Type::Mono, c.text2);
    }
}
