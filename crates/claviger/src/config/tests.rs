use std::cell::RefCell;
thread_local! { static READ: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) }; }
pub(super) fn note_read(paths: &[String]) {
    READ.with_borrow_mut(|read| read.extend_from_slice(paths));
}
