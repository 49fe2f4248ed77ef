//! The end of the queue: the card that counts down, and what follows.
//!
//! Place in the data flow: [`afterwards::turn`] says before every frame what is to be done; closing is asked of the window
//! system, shutting down of [`crate::shutdown::Machine`]. Whatever takes the card away cancels: somebody is there.

use crate::app::App;
use crate::state::Sheet;
use crate::state::afterwards::{self, After, Turn};
use egui::{Context, UserAttentionType};

impl App {
    /// A person chooses what follows.
    pub(super) fn choose_after(&mut self, wish: After) {
        let counted = self.state.afterwards.until_millis.is_some();
        afterwards::choose(&mut self.state, wish);
        if counted {
            self.take_card_away();
            self.notice(t!("after-cancelled"));
        }
    }

    /// Looks whether it is time.
    pub(super) fn follow_queue(&mut self, ctx: &Context) {
        if let Some(why) = self.services.machine.refused() {
            self.notice(t!("after-refused", why = why));
        }
        let closing = matches!(self.state.sheet, Some(Sheet::Closing { .. }));
        if closing {
            return;
        }
        let counts = self.state.afterwards.until_millis.is_some();
        if counts && self.state.sheet != Some(Sheet::Leaving) {
            self.choose_after(After::Nothing);
            return;
        }
        match afterwards::turn(&mut self.state) {
            Turn::Wait => {}
            Turn::Count => {
                self.state.sheet = Some(Sheet::Leaving);
                let words = match self.state.afterwards.wish {
                    After::ShutDown => t!("after-title-shut-down"),
                    After::Close | After::Nothing => t!("after-title-close"),
                };
                self.call(ctx, UserAttentionType::Critical);
                self.tell_outside(ctx, words);
                ctx.request_repaint();
            }
            // The figure changes once a second.
            Turn::Counts => ctx.request_repaint_after_secs(1.0),
            Turn::Resume => self.take_card_away(),
            Turn::Act(wish) => self.act_after(ctx, wish),
            Turn::HeldByDisk => self.hold_back(t!("after-held-disk")),
            Turn::HeldByLoss => self.hold_back(t!("after-held-loss")),
            Turn::Elsewhere => self.hold_back(t!("after-elsewhere")),
        }
    }

    fn take_card_away(&mut self) {
        if self.state.sheet == Some(Sheet::Leaving) {
            self.state.sheet = None;
        }
    }

    /// The choice is off again, and that is said.
    fn hold_back(&mut self, words: &'static str) {
        afterwards::choose(&mut self.state, After::Nothing);
        self.take_card_away();
        self.notice(words);
    }

    fn act_after(&mut self, ctx: &Context, wish: After) {
        afterwards::choose(&mut self.state, After::Nothing);
        self.take_card_away();
        self.flush_layout();
        match wish {
            After::Nothing => {}
            After::Close => {
                self.close_allowed = true;
                ctx.send_viewport_cmd(egui::ViewportCommand::Close);
            }
            After::ShutDown => {
                // The system asks every program to end, this one too.
                self.notice(t!("after-shutting-down"));
                self.services.machine.shut_down();
            }
        }
    }
}
