//! Python's pickle, as data.
//!
//! A pickle is a program for a small stack machine. This machine builds lists, dictionaries, numbers and texts, and
//! knows the handful of calls by which PyTorch and NumPy write tensors; any other call gives an object of which only the
//! name is kept. Nothing is imported or run. After the opcodes of CPython's `Lib/pickletools.py`, protocols 2 to 5. Every
//! value is counted, which is why this is our own: a file of a few kilobytes can ask for gigabytes of values.

use std::collections::HashMap;
use std::rc::Rc;

use super::tensors::Kind;

/// Longest pickle in bytes.
pub(super) const MAX_PICKLE: usize = 64 << 20;
/// Most values in one pickle. A checkpoint with its optimiser has some 20 for each tensor.
const MAX_NODES: usize = 1 << 21;
/// Most axes of a tensor.
const MAX_AXES: usize = 16;
/// Deepest dictionary or module in which tensors are looked for.
const MAX_DEPTH: usize = 64;
/// Most values looked at on the way; a dictionary can be in many others.
const MAX_VISITS: usize = 1 << 18;
/// Longest name of a tensor.
const MAX_NAME: usize = 1000;

/// Modules whose functions no file of weights has a use for.
const HOSTILE: [&str; 12] = [
    "os",
    "posix",
    "nt",
    "subprocess",
    "sys",
    "shutil",
    "socket",
    "runpy",
    "importlib",
    "ctypes",
    "pty",
    "webbrowser",
];
/// Built-in functions that run or open what they are given.
const HOSTILE_BUILT_INS: [&str; 7] = ["eval", "exec", "execfile", "compile", "getattr", "open", "__import__"];

/// A value by its place in the machine's memory. Values refer to each other by it, so circles are possible and freeing
/// is never deep.
type Id = usize;

#[derive(Debug, Clone)]
enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// A number of no interest here.
    Other,
    Text(Rc<str>),
    Bytes(Bytes),
    Sequence(Vec<Id>),
    Dictionary(Vec<(Id, Id)>),
    /// `module.name` of a class or function.
    Global(Rc<str>),
    /// What a call that is not made would have given; its state.
    Object(Option<Id>),
    Storage(Storage),
    Tensor(View),
    /// A number type of NumPy: its name, and after its state whether the lowest byte comes first.
    NumberType(Rc<str>, bool),
}

/// Bytes in the pickle. They are never copied: one value can be asked for many times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bytes {
    Plain(Rc<[u8]>),
    /// As protocol 2 writes them: a text with a letter for each.
    Letters(Rc<str>),
}

impl Bytes {
    /// The bytes; letters that are none are left out.
    pub(super) fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Plain(bytes) => bytes.to_vec(),
            Self::Letters(text) => text.chars().filter_map(|letter| u8::try_from(letter).ok()).collect(),
        }
    }
}

/// A run of numbers, beside the pickle or, as those of NumPy, in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    /// Its name in the file; nothing for one in the pickle.
    pub(super) key: Rc<str>,
    /// The numbers of one in the pickle.
    pub(super) content: Option<Bytes>,
    kind: Option<Kind>,
    type_name: Rc<str>,
}

/// A tensor: which numbers of a storage it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct View {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

impl Storage {
    /// Bytes of one of its numbers.
    pub(super) fn number_size(&self) -> Option<usize> {
        match (self.kind, self.type_name.rsplit('.').next()?) {
            (Some(kind), _) => Some(kind.size()),
            (None, "ByteStorage" | "CharStorage" | "BoolStorage" | "UntypedStorage") => Some(1),
            (None, "ShortStorage") => Some(2),
            (None, "ComplexFloatStorage") => Some(8),
            _ => None,
        }
    }

    /// The number type.
    pub(super) fn kind(&self) -> Result<Kind, String> {
        self.kind
            .ok_or_else(|| format!("its numbers are of type {}; weights are floating point", self.type_name))
    }
}

/// Values of one pickle.
#[derive(Debug)]
pub(super) struct Values {
    nodes: Vec<Node>,
    root: Id,
}

impl Values {
    /// Reads the pickle at the start of `bytes`; also gives its length.
    pub(super) fn read(bytes: &[u8]) -> Result<(Self, usize), String> {
        let mut machine = Machine {
            bytes: &bytes[..bytes.len().min(MAX_PICKLE)],
            at: 0,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        };
        let root = machine
            .run()
            .map_err(|reason| reason.unwrap_or_else(|| "damaged: its pickle cannot be read".to_owned()))?;
        Ok((Self { nodes: machine.nodes, root }, machine.at))
    }

    /// The root, if it is a whole number.
    pub(super) fn int(&self) -> Option<i64> {
        match self.nodes[self.root] {
            Node::Int(number) => Some(number),
            _ => None,
        }
    }

    /// The root, if it is a list of texts or numbers: as texts.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        let Node::Sequence(items) = &self.nodes[self.root] else { return None };
        items.iter().map(|item| self.key(*item)).collect()
    }

    /// All storages, also those of tensors that are not looked for.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(storage),
            _ => None,
        })
    }

    /// The value under `key` in the root.
    pub(super) fn bool_at(&self, key: &str) -> Option<bool> {
        match self.nodes[self.entry(self.root, key)?] {
            Node::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// Every tensor with the dictionaries and modules it lies in, as `layer1.0.weight`. Where one of `parts` is a
    /// dictionary or module in the root, only what lies in the first such one.
    pub(super) fn tensors(&self, parts: &[&str]) -> Result<Vec<(String, View)>, String> {
        let inside = |id: &Id| matches!(self.nodes[*id], Node::Dictionary(_) | Node::Object(Some(_)));
        let part = parts.iter().find_map(|part| self.entry(self.root, part).filter(inside));
        let mut found = Vec::new();
        let mut visits = 0;
        self.collect(part.unwrap_or(self.root), "", 0, &mut visits, &mut found)?;
        Ok(found)
    }

    fn collect(
        &self,
        id: Id,
        name: &str,
        depth: usize,
        visits: &mut usize,
        found: &mut Vec<(String, View)>,
    ) -> Result<(), String> {
        *visits += 1;
        if depth > MAX_DEPTH || *visits > MAX_VISITS {
            return Err("its dictionaries are too deep, or lie in each other".to_owned());
        }
        match &self.nodes[id] {
            Node::Tensor(view) => found.push((name.to_owned(), view.clone())),
            Node::Dictionary(entries) => {
                for (key, value) in entries {
                    if let Some(key) = self.key(*key) {
                        if name.len() + key.len() > MAX_NAME {
                            return Err(format!("a tensor's name has more than {MAX_NAME} letters"));
                        }
                        self.collect(*value, &joined(name, &key), depth + 1, visits, found)?;
                    }
                }
            }
            // A whole module: its own tensors, and the modules in it.
            Node::Object(Some(state)) => {
                for part in ["_parameters", "_buffers", "_modules"] {
                    if let Some(part) = self.entry(*state, part) {
                        self.collect(part, name, depth + 1, visits, found)?;
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A dictionary's key as text.
    fn key(&self, id: Id) -> Option<String> {
        match &self.nodes[id] {
            Node::Text(text) => Some(text.to_string()),
            Node::Int(number) => Some(number.to_string()),
            _ => None,
        }
    }

    /// The value under `key` in a dictionary; of two, the later one, as in Python.
    fn entry(&self, id: Id, key: &str) -> Option<Id> {
        let Node::Dictionary(entries) = &self.nodes[id] else { return None };
        let is_key = |id: Id| matches!(&self.nodes[id], Node::Text(text) if **text == *key);
        entries.iter().rev().find(|(id, _)| is_key(*id)).map(|(_, value)| *value)
    }
}

fn joined(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
}

/// Why a pickle is not read; nothing to add to "it is damaged" when there is no reason.
type Refusal = Option<String>;

impl<'a> Machine<'a> {
    /// Runs the program up to its end and gives what lies on the stack then.
    fn run(&mut self) -> Result<Id, Refusal> {
        loop {
            match self.take::<1>()?[0] {
                b'.' => return self.pop(),
                // Protocol number, and the length of what follows.
                0x80 => _ = self.take::<1>()?,
                0x95 => _ = self.take::<8>()?,
                b'(' => self.marks.push(self.stack.len()),
                b'0' => _ = self.pop()?,
                b'1' => _ = self.pop_mark()?,
                b'2' => {
                    let top = *self.stack.last().ok_or(None)?;
                    self.stack.push(top);
                }
                b'N' => self.push(Node::None)?,
                0x88 => self.push(Node::Bool(true))?,
                0x89 => self.push(Node::Bool(false))?,
                b'K' => self.number::<1>()?,
                b'M' => self.number::<2>()?,
                b'J' => {
                    let number = i32::from_le_bytes(self.take()?);
                    self.push(Node::Int(number.into()))?;
                }
                0x8a => self.long::<1>()?,
                0x8b => self.long::<4>()?,
                b'G' => {
                    self.take::<8>()?;
                    self.push(Node::Other)?;
                }
                b'U' | 0x8c => self.text::<1>()?,
                b'T' | b'X' => self.text::<4>()?,
                0x8d => self.text::<8>()?,
                b'C' => self.bytes::<1>()?,
                b'B' => self.bytes::<4>()?,
                0x8e | 0x96 => self.bytes::<8>()?,
                b']' | b')' | 0x8f => self.push(Node::Sequence(Vec::new()))?,
                b'}' => self.push(Node::Dictionary(Vec::new()))?,
                b'l' | b't' | 0x91 => {
                    let items = self.pop_mark()?;
                    self.push(Node::Sequence(items))?;
                }
                opcode @ 0x85..=0x87 => {
                    let items = self.pop_last(usize::from(opcode - 0x84))?;
                    self.push(Node::Sequence(items))?;
                }
                b'd' => {
                    let items = self.pop_mark()?;
                    self.push(Node::Dictionary(Vec::new()))?;
                    self.extend(items)?;
                }
                b'a' => {
                    let items = self.pop_last(1)?;
                    self.extend(items)?;
                }
                b's' => {
                    let items = self.pop_last(2)?;
                    self.extend(items)?;
                }
                b'e' | b'u' | 0x90 => {
                    let items = self.pop_mark()?;
                    self.extend(items)?;
                }
                b'q' => self.put::<1>()?,
                b'r' => self.put::<4>()?,
                0x94 => {
                    let top = *self.stack.last().ok_or(None)?;
                    self.memorise(self.memo.len() as u64, top)?;
                }
                b'h' => self.get::<1>()?,
                b'j' => self.get::<4>()?,
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(&module, &name)?;
                }
                0x93 => {
                    let names = self.pop_last(2)?;
                    let (Node::Text(module), Node::Text(name)) =
                        (&self.nodes[names[0]], &self.nodes[names[1]])
                    else {
                        return Err(None);
                    };
                    let (module, name) = (Rc::clone(module), Rc::clone(name));
                    self.global(&module, &name)?;
                }
                // A call; a new object of a class is one too. What stands between is a dictionary of arguments.
                b'R' | 0x81 => {
                    let items = self.pop_last(2)?;
                    let result = self.call(items[0], items[1])?;
                    self.push(result)?;
                }
                0x92 => {
                    self.pop_last(3)?;
                    self.push(Node::Object(None))?;
                }
                b'b' => {
                    let state = self.pop()?;
                    let object = *self.stack.last().ok_or(None)?;
                    self.build(object, state)?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(id)?;
                    self.push(Node::Storage(storage))?;
                }
                b'I' | b'L' | b'F' | b'S' | b'V' | b'p' | b'g' | b'P' | b'i' | b'o' => {
                    let reason = "it was pickled by protocol 0 or 1; save it again with torch.save as it is by default";
                    return Err(Some(reason.to_owned()));
                }
                _ => return Err(None),
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>()).ok_or(None)?;
        self.at += N;
        Ok(*taken)
    }

    /// A little-endian length of `N` bytes and as many bytes.
    fn sized<const N: usize>(&mut self) -> Result<&'a [u8], Refusal> {
        let len = usize::try_from(unsigned(self.take::<N>()?)).map_err(|_| None)?;
        let taken = self.bytes[self.at..].get(..len).ok_or(None)?;
        self.at += len;
        Ok(taken)
    }

    /// Up to the end of a line.
    fn line(&mut self) -> Result<String, Refusal> {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| *byte == b'\n').ok_or(None)?;
        self.at += len + 1;
        Ok(String::from_utf8_lossy(&rest[..len]).into_owned())
    }

    fn push(&mut self, node: Node) -> Result<(), Refusal> {
        if self.nodes.len() == MAX_NODES {
            return Err(Some(format!("its pickle has more than {MAX_NODES} values")));
        }
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, Refusal> {
        Ok(self.pop_last(1)?[0])
    }

    /// The last `n` values, the topmost last. A mark lies under what is above it.
    fn pop_last(&mut self, n: usize) -> Result<Vec<Id>, Refusal> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let start = self.stack.len().checked_sub(n).filter(|start| *start >= floor).ok_or(None)?;
        Ok(self.stack.split_off(start))
    }

    /// Everything above the last mark.
    fn pop_mark(&mut self) -> Result<Vec<Id>, Refusal> {
        let mark = self.marks.pop().ok_or(None)?;
        Ok(self.stack.split_off(mark))
    }

    /// Puts items into the list or dictionary on top. What happens to other objects is of no interest.
    fn extend(&mut self, items: Vec<Id>) -> Result<(), Refusal> {
        let top = *self.stack.last().ok_or(None)?;
        match &mut self.nodes[top] {
            Node::Sequence(list) => list.extend(items),
            Node::Dictionary(entries) => entries.extend(items.chunks_exact(2).map(|pair| (pair[0], pair[1]))),
            Node::Object(_) => {}
            _ => return Err(None),
        }
        Ok(())
    }

    fn number<const N: usize>(&mut self) -> Result<(), Refusal> {
        let number = i64::try_from(unsigned(self.take::<N>()?)).map_err(|_| None)?;
        self.push(Node::Int(number))
    }

    /// A whole number of any length; those of more than 64 bits are of no interest, but for PyTorch's mark.
    fn long<const N: usize>(&mut self) -> Result<(), Refusal> {
        let bytes = self.sized::<N>()?;
        let fill = if bytes.last().is_some_and(|last| *last >= 0x80) { 0xff } else { 0 };
        let mut wide = [fill; 8];
        let node = match bytes.len() {
            0..=8 => {
                wide[..bytes.len()].copy_from_slice(bytes);
                Node::Int(i64::from_le_bytes(wide))
            }
            _ => Node::Other,
        };
        self.push(node)
    }

    fn text<const N: usize>(&mut self) -> Result<(), Refusal> {
        let text = String::from_utf8_lossy(self.sized::<N>()?);
        self.push(Node::Text(text.into()))
    }

    fn bytes<const N: usize>(&mut self) -> Result<(), Refusal> {
        let bytes = self.sized::<N>()?;
        self.push(Node::Bytes(Bytes::Plain(bytes.into())))
    }

    fn put<const N: usize>(&mut self) -> Result<(), Refusal> {
        let key = unsigned(self.take::<N>()?);
        let top = *self.stack.last().ok_or(None)?;
        self.memorise(key, top)
    }

    fn memorise(&mut self, key: u64, id: Id) -> Result<(), Refusal> {
        if self.memo.len() > MAX_NODES {
            return Err(Some(format!("its pickle memorises more than {MAX_NODES} values")));
        }
        self.memo.insert(key, id);
        Ok(())
    }

    fn get<const N: usize>(&mut self) -> Result<(), Refusal> {
        let key = unsigned(self.take::<N>()?);
        let id = *self.memo.get(&key).ok_or(None)?;
        self.stack.push(id);
        Ok(())
    }

    /// A class or function by name. That a file only names some is reason enough to refuse it.
    fn global(&mut self, module: &str, name: &str) -> Result<(), Refusal> {
        if module.len() + name.len() > MAX_NAME {
            return Err(None);
        }
        let package = module.split('.').next().unwrap_or("");
        let built_in = ["builtins", "__builtin__"].contains(&package) && HOSTILE_BUILT_INS.contains(&name);
        let full = format!("{module}.{name}");
        if HOSTILE.contains(&package) || built_in {
            let full = crate::text::printable(&full);
            return Err(Some(format!(
                "it asks for {full}, which is no weight but an attack; nothing of it was run; delete the file"
            )));
        }
        self.push(Node::Global(full.into()))
    }

    /// What a call gives.
    fn call(&self, function: Id, arguments: Id) -> Result<Node, Refusal> {
        let (Node::Global(name), Node::Sequence(arguments)) = (&self.nodes[function], &self.nodes[arguments])
        else {
            return Ok(Node::Object(None));
        };
        match (&**name, arguments.as_slice()) {
            ("collections.OrderedDict", []) => Ok(Node::Dictionary(Vec::new())),
            (
                "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
                [storage, offset, shape, stride, ..],
            ) => self.tensor(*storage, *offset, *shape, *stride, None),
            ("torch._utils._rebuild_tensor_v3", [storage, offset, shape, stride, _, _, kind, ..]) => {
                self.tensor(*storage, *offset, *shape, *stride, Some(*kind))
            }
            (
                "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state",
                [tensor, ..],
            ) => match &self.nodes[*tensor] {
                Node::Tensor(view) => Ok(Node::Tensor(view.clone())),
                _ => Err(None),
            },
            ("_codecs.encode", [text, ..]) => match &self.nodes[*text] {
                Node::Text(text) => Ok(Node::Bytes(Bytes::Letters(Rc::clone(text)))),
                _ => Err(None),
            },
            ("numpy.dtype", [name, ..]) => match &self.nodes[*name] {
                Node::Text(name) => Ok(Node::NumberType(Rc::clone(name), true)),
                _ => Err(None),
            },
            ("torch._tensor._rebuild_from_type_v2", [function, _, arguments, ..]) => {
                // Once: what is called must be one of the calls above.
                let same = matches!(&self.nodes[*function], Node::Global(inner) if inner == name);
                if same { Err(None) } else { self.call(*function, *arguments) }
            }
            _ => Ok(Node::Object(None)),
        }
    }

    /// What an object becomes with its state. That of an array of NumPy is version, shape, number type, whether the first
    /// axis changes fastest, and the numbers; that of a number type begins with version and order of bytes.
    fn build(&mut self, object: Id, state: Id) -> Result<(), Refusal> {
        let built = match (&self.nodes[object], &self.nodes[state]) {
            (Node::NumberType(name, _), Node::Sequence(state)) => {
                match state.get(1).map(|id| &self.nodes[*id]) {
                    Some(Node::Text(order)) => Node::NumberType(Rc::clone(name), **order != *">"),
                    _ => return Err(None),
                }
            }
            (Node::Object(_), Node::Sequence(parts)) => {
                self.array(parts)?.unwrap_or(Node::Object(Some(state)))
            }
            (Node::Object(_), _) => Node::Object(Some(state)),
            _ => return Ok(()),
        };
        self.nodes[object] = built;
        Ok(())
    }

    /// The array of NumPy with this state, if it is one.
    fn array(&self, state: &[Id]) -> Result<Option<Node>, Refusal> {
        let [_, shape, kind, first_fastest, content] = state else { return Ok(None) };
        let (Node::NumberType(name, little), Node::Bool(first_fastest), Node::Bytes(content)) =
            (&self.nodes[*kind], &self.nodes[*first_fastest], &self.nodes[*content])
        else {
            return Ok(None);
        };
        if !little {
            return Err(Some("it was saved on a machine with another order of bytes".to_owned()));
        }
        let shape = self.sizes(*shape).ok_or(None)?;
        let mut stride = vec![0; shape.len()];
        let mut step = 1_usize;
        for i in 0..shape.len() {
            let axis = if *first_fastest { i } else { shape.len() - 1 - i };
            stride[axis] = step;
            step = step.saturating_mul(shape[axis]);
        }
        let storage = Storage {
            key: Rc::from(""),
            content: Some(content.clone()),
            kind: kind_of(name),
            type_name: Rc::clone(name),
        };
        Ok(Some(Node::Tensor(View { storage, offset: 0, shape, stride })))
    }

    fn tensor(
        &self,
        storage: Id,
        offset: Id,
        shape: Id,
        stride: Id,
        kind: Option<Id>,
    ) -> Result<Node, Refusal> {
        let (Node::Storage(storage), Some(offset)) = (&self.nodes[storage], self.size(offset)) else {
            return Err(None);
        };
        let (shape, stride) = (self.sizes(shape).ok_or(None)?, self.sizes(stride).ok_or(None)?);
        let mut storage = storage.clone();
        if let Some(kind) = kind {
            let Node::Global(name) = &self.nodes[kind] else { return Err(None) };
            storage.kind = kind_of(name);
            storage.type_name = Rc::clone(name);
        }
        if shape.len() != stride.len() {
            return Err(None);
        }
        Ok(Node::Tensor(View { storage, offset, shape, stride }))
    }

    /// `('storage', type, key, where it was, length)`, and in old files a view of it, which is long gone.
    fn storage(&self, id: Id) -> Result<Storage, Refusal> {
        let Node::Sequence(parts) = &self.nodes[id] else { return Err(None) };
        let [_, kind, key, _, _, view @ ..] = parts.as_slice() else { return Err(None) };
        let Node::Global(name) = &self.nodes[*kind] else { return Err(None) };
        let key = match &self.nodes[*key] {
            Node::Text(key) => Rc::clone(key),
            Node::Int(key) => key.to_string().into(),
            _ => return Err(None),
        };
        if view.iter().any(|view| !matches!(self.nodes[*view], Node::None)) {
            return Err(Some(
                "it was saved by PyTorch before 0.4; save it again with a newer one".to_owned(),
            ));
        }
        Ok(Storage { key, content: None, kind: kind_of(name), type_name: Rc::clone(name) })
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.nodes[id] {
            Node::Int(number) => usize::try_from(number).ok(),
            _ => None,
        }
    }

    fn sizes(&self, id: Id) -> Option<Vec<usize>> {
        match &self.nodes[id] {
            Node::Sequence(items) if items.len() <= MAX_AXES => {
                items.iter().map(|item| self.size(*item)).collect()
            }
            _ => None,
        }
    }
}

/// The number type of a storage class, of a `torch.dtype` or of NumPy.
fn kind_of(name: &str) -> Option<Kind> {
    match name.rsplit('.').next()? {
        "FloatStorage" | "float32" | "f4" => Some(Kind::F32),
        "DoubleStorage" | "float64" | "f8" => Some(Kind::F64),
        "HalfStorage" | "float16" | "f2" => Some(Kind::F16),
        "BFloat16Storage" | "bfloat16" => Some(Kind::BF16),
        "LongStorage" | "int64" | "i8" => Some(Kind::I64),
        "IntStorage" | "int32" | "i4" => Some(Kind::I32),
        _ => None,
    }
}

/// Little-endian, at most eight bytes.
fn unsigned<const N: usize>(bytes: [u8; N]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<String>, String> {
        let (values, len) = Values::read(bytes)?;
        assert_eq!(len, bytes.len());
        Ok(values.tensors(&["model"])?.into_iter().map(|(name, _)| name).collect())
    }

    /// A text of up to 255 bytes.
    fn text(text: &str) -> Vec<u8> {
        [&[0x8c, text.len() as u8][..], text.as_bytes()].concat()
    }

    fn global(name: &str) -> Vec<u8> {
        let (module, name) = name.rsplit_once('.').unwrap();
        format!("c{module}\n{name}\n").into_bytes()
    }

    /// A tensor of shape `[2]` in the storage `0`.
    fn tensor() -> Vec<u8> {
        let storage = [
            b"(".to_vec(),
            text("storage"),
            global("torch.FloatStorage"),
            text("0"),
            text("cpu"),
            b"K\x02tQ".to_vec(),
        ];
        let arguments = [storage.concat(), b"K\x00K\x02\x85K\x01\x85\x89Nt".to_vec()].concat();
        [global("torch._utils._rebuild_tensor_v2"), b"(".to_vec(), arguments, b"R".to_vec()].concat()
    }

    fn program(parts: &[Vec<u8>]) -> Vec<u8> {
        [vec![0x80, 2], parts.concat(), b".".to_vec()].concat()
    }

    #[test]
    fn tensors_are_named_by_where_they_lie() {
        let dictionary =
            |key: &str, value: Vec<u8>| [b"}".to_vec(), text(key), value, b"s".to_vec()].concat();
        assert_eq!(read(&program(&[dictionary("a.b", tensor())])), Ok(vec!["a.b".to_owned()]));
        assert_eq!(read(&program(&[dictionary("a", dictionary("b", tensor()))])), Ok(vec!["a.b".to_owned()]));
        // What lies in the part that is asked for, and nothing else.
        let both =
            [b"}(".to_vec(), text("model"), dictionary("w", tensor()), text("v"), tensor(), b"u".to_vec()];
        assert_eq!(read(&program(&both)), Ok(vec!["w".to_owned()]));
        // A whole module: an object with a state.
        let state = dictionary(
            "_modules",
            dictionary(
                "conv",
                [
                    global("torch.nn.Conv1d"),
                    b")\x81".to_vec(),
                    dictionary("_parameters", dictionary("weight", tensor())),
                    b"b".to_vec(),
                ]
                .concat(),
            ),
        );
        let module = [global("net.Net"), b")\x81".to_vec(), state, b"b".to_vec()];
        assert_eq!(read(&program(&module)), Ok(vec!["conv.weight".to_owned()]));
    }

    #[test]
    fn arrays_of_numpy_are_tensors() {
        // numpy.array([[1, 2, 3], [4, 5, 6]], order=…) by protocol 2: made empty, then given its state.
        let numbers: Vec<u8> = (1..=6).flat_map(|n| f32::to_le_bytes(n as f32)).collect();
        let letters: String = numbers.iter().map(|byte| char::from(*byte)).collect();
        let encoded = [global("_codecs.encode"), text(&letters), text("latin1"), b"\x86R".to_vec()].concat();
        let kind = |order: &str| {
            let made = [global("numpy.dtype"), text("f4"), b"\x89\x88\x87R".to_vec()];
            [made.concat(), b"(K\x03".to_vec(), text(order), b"NNNK\x00tb".to_vec()].concat()
        };
        let array = |shape: &[u8], order: &str, first_fastest: u8, content: &[u8]| {
            let made = [global("numpy.core.multiarray._reconstruct"), b")R".to_vec()].concat();
            let state =
                [b"(K\x01".to_vec(), shape.to_vec(), kind(order), vec![first_fastest], content.to_vec()];
            let built = [made, state.concat(), b"tb".to_vec()].concat();
            program(&[b"}".to_vec(), text("a"), built, b"s".to_vec()])
        };
        let view = |bytes: &[u8]| Values::read(bytes).unwrap().0.tensors(&[]).unwrap().pop().unwrap().1;
        let rows = view(&array(b"K\x02K\x03\x86", "<", 0x89, &encoded));
        assert_eq!((rows.shape, rows.stride), (vec![2, 3], vec![3, 1]));
        assert_eq!(rows.storage.content.map(|content| content.to_vec()), Some(numbers.clone()));
        assert_eq!(rows.storage.kind, Some(Kind::F32));
        let plain = [vec![b'C', 24], numbers].concat();
        let columns = view(&array(b"K\x02K\x03\x86", "<", 0x88, &plain));
        assert_eq!((columns.shape, columns.stride), (vec![2, 3], vec![1, 2]));
        let other = Values::read(&array(b"K\x06\x85", ">", 0x89, &plain)).unwrap_err();
        assert!(other.contains("another order of bytes"), "{other}");
        assert!(Values::read(&array(b"K\x06", "<", 0x89, &plain)).is_err(), "a shape that is none");
    }

    #[test]
    fn calls_that_are_not_known_are_not_made() {
        let call =
            |name: &str| program(&[b"}".to_vec(), text("x"), global(name), text("1"), b"\x85Rs".to_vec()]);
        assert_eq!(read(&call("numpy.core.multiarray.scalar")), Ok(vec![]));
        for name in [
            "os.system",
            "posix.system",
            "os.path.join",
            "builtins.eval",
            "__builtin__.getattr",
            "subprocess.Popen",
        ] {
            let error = read(&call(name)).unwrap_err();
            assert!(error.contains(name) && error.contains("nothing of it was run"), "{error}");
        }
        // By the newer opcode, too.
        let newer = program(&[text("os"), text("system"), b"\x93".to_vec()]);
        assert!(read(&newer).unwrap_err().contains("os.system"));
    }

    #[test]
    fn programs_that_go_nowhere_are_refused() {
        let itself = program(&[b"}q\x00".to_vec(), text("a"), b"h\x00s".to_vec()]);
        assert!(read(&itself).unwrap_err().contains("in each other"));
        // Each dictionary holds the one before twice: 2^40 ways to the bottom.
        let mut doubling = vec![b"}q\x00".to_vec()];
        for i in 0..40 {
            doubling.extend([
                b"}(".to_vec(),
                text("a"),
                vec![b'h', i],
                text("b"),
                vec![b'h', i],
                b"u".to_vec(),
                vec![b'q', i + 1],
            ]);
        }
        assert!(read(&program(&doubling)).unwrap_err().contains("in each other"));
        for bytes in [
            &b""[..],
            b".",
            b"\x80\x02",
            b"(t",
            b"\x80\x02(0.",
            b"\x80\x02Nt.",
            b"\x80\x02h\x00.",
            b"\x80\x02K\x01K\x02R.",
            b"\x80\x02X\xff\xff\xff\xffabc.",
            b"\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xffabc.",
            b"\x80\x02cabc",
            b"\x80\x02NQ.",
            b"\x80\x02\xff.",
        ] {
            let refused = match Values::read(bytes) {
                Err(reason) => reason.contains("damaged"),
                Ok((values, _)) => values.tensors(&[]).unwrap().is_empty(),
            };
            assert!(refused, "{bytes:?}");
        }
        assert!(read(b"I01\n.").unwrap_err().contains("protocol 0"));
        let many = [vec![b'N'; MAX_NODES + 1], b".".to_vec()].concat();
        assert!(read(&many).unwrap_err().contains("more than"));
        let memory = [b"N".to_vec(), vec![0x94; MAX_NODES + 2], b".".to_vec()].concat();
        assert!(read(&memory).unwrap_err().contains("memorises"));
    }
}
