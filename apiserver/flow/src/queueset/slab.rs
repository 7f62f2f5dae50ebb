//! Values under small numbers that are used again.

#[derive(Debug)]
pub(super) struct Slab<V> {
    slots: Vec<Option<V>>,
    free: Vec<u32>,
}

impl<V> Default for Slab<V> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: Vec::new() }
    }
}

impl<V> Slab<V> {
    pub(super) fn insert(&mut self, value: V) -> u32 {
        match self.free.pop() {
            Some(at) => {
                self.slots[at as usize] = Some(value);
                at
            }
            None => {
                self.slots.push(Some(value));
                self.slots.len() as u32 - 1
            }
        }
    }

    pub(super) fn get(&self, at: u32) -> &V {
        self.slots[at as usize].as_ref().expect("a number is used only while its value is there")
    }

    pub(super) fn get_mut(&mut self, at: u32) -> &mut V {
        self.slots[at as usize].as_mut().expect("a number is used only while its value is there")
    }

    pub(super) fn remove(&mut self, at: u32) -> V {
        self.free.push(at);
        self.slots[at as usize].take().expect("a number is used only while its value is there")
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &V> {
        self.slots.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.slots.iter_mut().flatten()
    }
}
