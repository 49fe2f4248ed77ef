//! Every registered method with what it may waive of the contract, said out loud; and rules over the whole registry.

use std::collections::BTreeSet;
use temper_methods::{MODULES, module_name, registry};
use temper_tests::kit;

#[test]
#[expect(clippy::print_stdout, reason = "what is waived is meant to be read in the log of every test run")]
fn registry_and_waivers() {
    let mut ids = BTreeSet::new();
    for method in registry() {
        let declared = method.declared();
        println!("method: {} ({:?}), {}", declared.id, declared.kind, declared.title);
        assert!(ids.insert(declared.id), "{} is registered twice", declared.id);
        assert!(MODULES.contains(&module_name(declared.id).as_str()), "{} is not in a file of its name", declared.id);
        for waiver in declared.waivers {
            println!("waiver: {}: {}: {}", declared.id, waiver.clause, waiver.reason);
            assert!(waiver.reason.len() > 20, "{}: {} is waived without a reason", declared.id, waiver.clause);
        }
        assert!(!declared.summary.is_empty() && !declared.docs.is_empty(), "{} is not described", declared.id);
        assert!(!declared.exports_as.is_empty(), "{} cannot leave", declared.id);
    }
    assert_eq!(ids.len(), MODULES.len(), "a module without a registry entry");
}

#[test]
fn example_projects_can_be_read() {
    let mut found = 0;
    for entry in std::fs::read_dir(kit::root().join("projects")).expect("the folder of examples") {
        let folder = entry.expect("an entry").path();
        if folder.is_dir() {
            let project = temper_protocol::project_file::load(&folder).expect("an example project");
            temper_methods::find(&project.method.id).expect("its method is registered");
            found += 1;
        }
    }
    assert!(found >= 2, "{found} example projects");
}
