//! Ranks of the adapted layers as a grid of modules by layers.

use temper_store::RankRow;

/// What the colour of a cell says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Measure {
    /// Rank in use.
    Rank,
    /// Effective rank.
    #[default]
    Effective,
    /// Norm of the change over that of the weight: what the engine and the store call `energy`.
    Change,
    /// Share of the squared singular values of all changes that lies in this layer.
    Energy,
    /// Share of the choices of a router by expert; for runs whose layers have routers.
    Experts,
}

impl Measure {
    /// All, in the order of the switch.
    pub const ALL: [Self; 5] = [Self::Rank, Self::Effective, Self::Change, Self::Energy, Self::Experts];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Rank => t!("watch-rank"),
            Self::Effective => t!("watch-effective"),
            Self::Change => t!("watch-change"),
            Self::Energy => t!("watch-energy-share"),
            Self::Experts => t!("watch-experts"),
        }
    }
}

/// Squared singular values of a change, together: its squared Frobenius norm.
#[must_use]
pub fn energy(spectrum: &[f32]) -> f64 {
    spectrum.iter().map(|value| f64::from(*value).powi(2)).filter(|value| value.is_finite()).sum()
}

/// Of the singular values `spectrum`, largest first, how many have nine tenths of its energy; 0 of none.
#[must_use]
pub fn needed(spectrum: &[f32]) -> usize {
    let enough = 0.9 * energy(spectrum);
    let mut sum = 0.0;
    let place = spectrum.iter().position(|value| {
        sum += f64::from(*value).powi(2);
        sum >= enough
    });
    place.map_or(spectrum.len(), |index| index + 1)
}

/// Ranks at one step, and how they got there.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RankView {
    /// Step measured; 0 when nothing was measured yet.
    pub step: u64,
    /// Steps at which ranks were measured.
    pub steps: Vec<u64>,
    /// Rows of the grid, in the order of the data flow inside a block.
    pub modules: Vec<String>,
    /// Layer numbers, the columns.
    pub layers: Vec<u64>,
    /// Cells by module, then layer.
    pub cells: Vec<Vec<Option<RankRow>>>,
    /// Sites that belong to no layer, such as the head.
    pub others: Vec<RankRow>,
    /// History of the site asked for.
    pub history: Vec<RankRow>,
    /// Squared singular values of all changes, together.
    pub energy: f64,
}

const ORDER: [&str; 14] = [
    "attn.q",
    "attn.k",
    "attn.v",
    "attn.o",
    "mlp.gate",
    "mlp.up",
    "mlp.down",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "down_proj",
];

/// `layers.17.attn.v` as layer and module; `None` when there is no layer number in it.
#[must_use]
pub fn split_site(site: &str) -> Option<(u64, &str)> {
    let mut start = 0;
    for part in site.split('.') {
        let after = start + part.len() + 1;
        if let Ok(layer) = part.parse()
            && after < site.len()
        {
            return Some((layer, &site[after..]));
        }
        start = after;
    }
    None
}

/// Place of a module in the order of the data flow inside a block; those that are not known come last.
pub(super) fn flow(module: &str) -> usize {
    ORDER.iter().position(|known| module.ends_with(known)).unwrap_or(ORDER.len())
}

/// The last part of a module's name: `v` of `attn.v`.
#[must_use]
pub fn short_module(module: &str) -> &str {
    module.rsplit('.').next().unwrap_or(module)
}

impl RankView {
    /// Sorts rows into the grid.
    #[must_use]
    pub fn new(rows: Vec<RankRow>, steps: Vec<u64>, history: Vec<RankRow>) -> Self {
        let mut modules: Vec<String> = Vec::new();
        let mut layers: Vec<u64> = Vec::new();
        for row in &rows {
            if let Some((layer, module)) = split_site(&row.site) {
                if !modules.iter().any(|known| known == module) {
                    modules.push(module.to_owned());
                }
                if !layers.contains(&layer) {
                    layers.push(layer);
                }
            }
        }
        modules.sort_by(|a, b| flow(a).cmp(&flow(b)).then_with(|| a.cmp(b)));
        layers.sort_unstable();
        let mut cells = vec![vec![None; layers.len()]; modules.len()];
        let mut others = Vec::new();
        let step = rows.iter().map(|row| row.step).max().unwrap_or(0);
        let all = rows.iter().map(|row| energy(&row.spectrum)).sum();
        for row in rows {
            let place = split_site(&row.site).and_then(|(layer, module)| {
                let column = layers.iter().position(|known| *known == layer)?;
                Some((modules.iter().position(|known| known == module)?, column))
            });
            match place.and_then(|(line, column)| cells.get_mut(line)?.get_mut(column)) {
                Some(cell) => *cell = Some(row),
                None => others.push(row),
            }
        }
        Self { step, steps, modules, layers, cells, others, history, energy: all }
    }

    /// Every row of the grid.
    pub fn rows(&self) -> impl Iterator<Item = &RankRow> {
        self.cells.iter().flatten().flatten()
    }

    /// The row of the grid whose weight changed most: what is looked at until a cell is chosen.
    #[must_use]
    pub fn most_changed(&self) -> Option<&RankRow> {
        self.rows().filter(|row| row.energy.is_finite()).max_by(|a, b| a.energy.total_cmp(&b.energy))
    }

    /// The row that is looked at: that of `site`, or the one that changed most when there is none.
    #[must_use]
    pub fn looked_at(&self, site: Option<&str>) -> Option<&RankRow> {
        site.and_then(|site| self.row(site)).or_else(|| self.most_changed())
    }

    /// What `measure` says of a row; nothing for what is a router's.
    #[must_use]
    pub fn value(&self, measure: Measure, row: &RankRow) -> Option<f64> {
        match measure {
            Measure::Rank => Some(row.rank as f64),
            Measure::Effective => Some(row.effective_rank),
            Measure::Change => Some(row.energy),
            Measure::Energy if self.energy > 0.0 => Some(energy(&row.spectrum) / self.energy),
            Measure::Energy => Some(0.0),
            Measure::Experts => None,
        }
    }

    /// The row of the grid with the largest value, and the value.
    #[must_use]
    pub fn most(&self, measure: Measure) -> Option<(&RankRow, f64)> {
        let valued = self.rows().filter_map(|row| Some((row, self.value(measure, row)?)));
        valued.filter(|(_, value)| value.is_finite()).max_by(|(_, a), (_, b)| a.total_cmp(b))
    }

    /// The row of `site`.
    #[must_use]
    pub fn row(&self, site: &str) -> Option<&RankRow> {
        self.rows().chain(&self.others).find(|row| row.site == site)
    }

    /// Fifth percentile and largest value: where the colour scale starts and ends.
    #[must_use]
    pub fn domain(&self, measure: Measure) -> (f64, f64) {
        let values = self.rows().filter_map(|row| self.value(measure, row));
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        let Some(high) = values.iter().copied().max_by(f64::total_cmp) else { return (0.0, 1.0) };
        let least = values.len() / 20;
        (*values.select_nth_unstable_by(least, f64::total_cmp).1, high)
    }

    /// Mean over the grid.
    #[must_use]
    pub fn mean(&self, measure: Measure) -> f64 {
        let values = self.rows().filter_map(|row| self.value(measure, row));
        let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
        if count > 0.0 { sum / count } else { f64::NAN }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(site: &str, rank: u64) -> RankRow {
        RankRow { step: 5, site: site.to_owned(), rank, effective_rank: 1.0, energy: 0.1, spectrum: Vec::new() }
    }

    #[test]
    fn sites_become_a_grid_in_the_order_of_the_flow() {
        let rows =
            vec![row("layers.1.mlp.up", 4), row("layers.0.attn.q", 8), row("layers.10.attn.q", 2), row("head", 1)];
        let view = RankView::new(rows, vec![5], Vec::new());
        assert_eq!(view.modules, ["attn.q", "mlp.up"]);
        assert_eq!(view.layers, [0, 1, 10]);
        assert_eq!(view.cells[0][2].as_ref().map(|row| row.rank), Some(2));
        assert!(view.cells[1][0].is_none());
        assert_eq!(view.others.len(), 1);
        assert!((view.mean(Measure::Rank) - 14.0 / 3.0).abs() < 1e-9);
        assert_eq!(view.row("head").map(|row| row.rank), Some(1));
    }

    #[test]
    fn the_energy_of_a_layer_is_its_share_of_all_changes() {
        let with = |site: &str, spectrum: &[f32]| RankRow { spectrum: spectrum.to_vec(), ..row(site, 2) };
        let rows = vec![with("layers.0.attn.q", &[3.0, 1.0]), with("layers.1.attn.q", &[5.0, 5.0]), row("head", 1)];
        let view = RankView::new(rows, vec![5], Vec::new());
        let share = |site: &str| view.row(site).and_then(|row| view.value(Measure::Energy, row)).unwrap_or(f64::NAN);
        assert!((share("layers.0.attn.q") - 10.0 / 60.0).abs() < 1e-9);
        assert!((share("layers.1.attn.q") - 50.0 / 60.0).abs() < 1e-9);
        let most = view.most(Measure::Energy).map(|(row, _)| row.site.as_str());
        assert_eq!(most, Some("layers.1.attn.q"));
        assert_eq!((needed(&[3.0, 1.0]), needed(&[5.0, 5.0]), needed(&[])), (1, 2, 0));
        assert_eq!(view.value(Measure::Experts, &view.others[0]), None);
        let still = RankView::new(vec![row("layers.0.attn.q", 2)], vec![5], Vec::new());
        assert_eq!(still.value(Measure::Energy, &row("layers.0.attn.q", 2)), Some(0.0), "nothing changed yet");
    }

    #[test]
    fn what_is_looked_at_is_the_chosen_site_or_the_one_that_changed_most() {
        let mut rows = vec![row("layers.0.attn.q", 8), row("layers.1.attn.q", 8), row("head", 1)];
        rows[1].energy = 0.5;
        let view = RankView::new(rows, vec![5], Vec::new());
        let looked = |site| view.looked_at(site).map(|row| row.site.as_str());
        assert_eq!(looked(None), Some("layers.1.attn.q"));
        assert_eq!(looked(Some("head")), Some("head"));
        assert_eq!(looked(Some("layers.9.attn.q")), Some("layers.1.attn.q"), "of another run");
    }

    #[test]
    fn a_site_without_a_layer_has_no_place() {
        assert_eq!(split_site("layers.17.attn.v"), Some((17, "attn.v")));
        assert_eq!(split_site("model.layers.3.self_attn.q_proj"), Some((3, "self_attn.q_proj")));
        assert_eq!(split_site("lm_head"), None);
        assert_eq!(short_module("self_attn.q_proj"), "q_proj");
    }
}
