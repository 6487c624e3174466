//! Lists: `count`, `list`, `pagination` (portal-gateway-3x.md 1.5).

use serde::{Deserialize, Serialize};

/// Items of a page when the client names no limit.
const LIMIT_DEFAULT: usize = 25;
/// Most items of a page.
const LIMIT_MAX: usize = 1000;

/// `limit` and `offset` of a request.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Paging {
    /// Items wanted.
    pub limit: Option<i64>,
    /// Items passed over.
    pub offset: Option<i64>,
}

/// A list on the wire.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// Number of items in this page.
    pub count: usize,
    /// The items.
    pub list: Vec<T>,
    /// Where the other pages are.
    pub pagination: Pagination,
}

/// Where the other pages are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pagination {
    offset: usize,
    limit: usize,
    total: usize,
    next: String,
    previous: String,
}

impl<T> Page<T> {
    /// A page of all items. `path` is relative (`/apis`); `rest` is what the links repeat (`query=x`).
    pub fn of<S>(items: &[S], paging: Paging, (path, rest): (&str, &str), show: impl FnMut(&S) -> T) -> Self {
        let natural = |value: Option<i64>, default: usize| value.map_or(default, |it| usize::try_from(it).unwrap_or(0));
        let limit = natural(paging.limit, LIMIT_DEFAULT).min(LIMIT_MAX);
        let offset = natural(paging.offset, 0);
        let total = items.len();
        let list: Vec<T> = items.iter().skip(offset).take(limit).map(show).collect();
        let link = |offset: usize| format!("{path}?limit={limit}&offset={offset}&{rest}");
        let next = offset.saturating_add(limit);
        let has_next = limit > 0 && next < total;
        let has_previous = limit > 0 && offset > 0;
        let pagination = Pagination {
            offset,
            limit,
            total,
            next: if has_next { link(next) } else { String::new() },
            previous: if has_previous { link(offset.saturating_sub(limit)) } else { String::new() },
        };
        Self { count: list.len(), list, pagination }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages() {
        let items = [1, 2, 3, 4, 5];
        let page = |limit, offset| {
            let paging = Paging { limit, offset };
            let page = Page::of(&items, paging, ("/apis", "query="), |it| *it);
            (page.list, page.pagination.next, page.pagination.previous)
        };
        let link = |limit: u8, offset: u8| format!("/apis?limit={limit}&offset={offset}&query=");
        assert_eq!(page(None, None), (vec![1, 2, 3, 4, 5], String::new(), String::new()));
        assert_eq!(page(Some(2), Some(2)), (vec![3, 4], link(2, 4), link(2, 0)));
        assert_eq!(page(Some(2), Some(4)), (vec![5], String::new(), link(2, 2)));
        assert_eq!(page(Some(2), Some(1)).2, link(2, 0));
        assert_eq!(page(Some(2), Some(9)).0, Vec::<i32>::new());
        assert_eq!(page(Some(-1), Some(-1)).0, Vec::<i32>::new());
    }
}
