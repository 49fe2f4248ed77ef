//! What a run forgot, in Compare: one figure in the table, in its warning and in the trade-off.

use crate::{compared, kit};
use egui_kittest::kittest::Queryable as _;
use temper::commands::UiCommand;
use temper::state::compare::CompareAct;

#[test]
fn the_table_and_the_trade_off_say_the_forgetting_of_the_best_checkpoint() {
    let (_root, stage) = kit::stage();
    let mut window = kit::window(&stage, kit::SIZES[0], true);
    let folder = compared::compared(&mut window, &stage);
    let warned = |window: &kit::Window| window.query_all_by_label("Over its forgetting budget").count();
    assert_eq!(window.query_all_by_label("+0.068").count(), 1, "run 5 as it was measured last");
    assert_eq!(warned(&window), 2, "runs 5 and 2");
    let mut snapshot = compared::six_runs(&folder);
    snapshot.kept_at_best = [(5, 0.0125)].into();
    stage.runs.publish(snapshot);
    window.run();
    assert!(window.query_by_label("+0.068").is_none(), "no second figure of the same name");
    assert_eq!(warned(&window), 1, "its best checkpoint is within the budget");
    kit::send(&mut window, UiCommand::Compare(CompareAct::TradeoffTable(true)));
    let said = temper::format::signed_nats(0.0125);
    assert_eq!(window.query_all_by_label(&said).count(), 2, "{said} in the table and in the trade-off's");
}
