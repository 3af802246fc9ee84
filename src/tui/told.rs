//! What the panes of a screen have been told: how much room each has, and what it is about.

use super::widgets::{Pane, Place, Request};
use std::collections::BTreeMap;

#[derive(Debug)]
pub struct Told<P> {
    sizes: BTreeMap<P, (u16, u16)>,
    places: BTreeMap<P, Place>,
}

/// What a pane has not been told yet.
pub struct News {
    size: Option<(u16, u16)>,
    place: Option<Place>,
}

impl<P> Default for Told<P> {
    fn default() -> Self {
        Told { sizes: BTreeMap::new(), places: BTreeMap::new() }
    }
}

impl<P: Copy + Ord> Told<P> {
    /// What is new for a pane that is seen: the columns and rows of its content, and what it is about.
    pub fn news(&mut self, pane: P, size: (u16, u16), place: &Place) -> News {
        let resized = self.sizes.insert(pane, size) != Some(size);
        let moved = self.places.get(&pane) != Some(place);
        if moved {
            self.places.insert(pane, place.clone());
        }
        News { size: resized.then_some(size), place: moved.then(|| place.clone()) }
    }

    pub fn place(&self, pane: P) -> Option<&Place> {
        self.places.get(&pane)
    }

    /// There is another plan.
    pub fn forget_places(&mut self) {
        self.places.clear();
    }

    /// A pane has another widget.
    pub fn forget_size(&mut self, pane: P) {
        self.sizes.remove(&pane);
    }
}

impl News {
    /// What the pane asks for because of it, or has come to want.
    pub fn tell(self, pane: &mut dyn Pane) -> Vec<Request> {
        let mut requests = Vec::new();
        if let Some((columns, rows)) = self.size {
            requests.extend(pane.resized(columns, rows));
        }
        if let Some(place) = self.place {
            requests.extend(pane.show(&place));
        }
        requests.extend(pane.wants());
        requests
    }
}
