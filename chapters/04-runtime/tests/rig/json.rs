//! Changing a JSON document by pointers (RFC 6901).

use serde_json::{Value, json};

/// Sets the value at `pointer`; objects on the way are made where they are missing.
pub fn set(document: &mut Value, pointer: &str, value: Value) {
    *place(document, pointer) = value;
}

/// Adds to the list at `pointer`.
pub fn push(document: &mut Value, pointer: &str, value: Value) {
    let list = place(document, pointer);
    if list.is_null() {
        *list = json!([]);
    }
    list.as_array_mut().expect("a list").push(value);
}

/// Removes the field at `pointer`.
pub fn remove(document: &mut Value, pointer: &str) {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    if let Some(Value::Object(parent)) = document.pointer_mut(parent) {
        parent.remove(name);
    }
}

fn place<'a>(document: &'a mut Value, pointer: &str) -> &'a mut Value {
    let mut at = document;
    for name in pointer.split('/').skip(1) {
        let name = name.replace("~1", "/").replace("~0", "~");
        at = match (at.is_array(), name.parse::<usize>()) {
            (true, Ok(index)) => &mut at[index],
            _ => {
                if at.is_null() {
                    *at = json!({});
                }
                at.as_object_mut().expect("an object").entry(name).or_insert(Value::Null)
            }
        };
    }
    at
}
