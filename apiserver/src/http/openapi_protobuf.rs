//! OpenAPI documents in protobuf, as `kube-openapi` serves them to who asks for nothing else (client-go's
//! `OpenAPISchema`): the messages of `gnostic-models` (`openapiv2/OpenAPIv2.proto`, `openapiv3/OpenAPIv3.proto`), written
//! from the JSON of a document by a table of their fields.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Map, Value};

use super::wire::Backward;
use super::yaml;

/// How much of documents is kept, in bytes: all of one cluster, and those of a few others with definitions of their own.
const KEPT: usize = 32 << 20;

/// A version of OpenAPI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V2,
    V3,
}

/// Messages, one a line: a name and its fields, `member:number:type`. Types: `s` text, `b` boolean, `i` integer, `d` number,
/// `a` anything (as YAML), `t` a text or texts in a message, else a message; with `*` many of them, in braces a map of them.
/// Members: `x-` all extensions, `/` all paths, `0` all codes of answers. After `?` are choices of a oneof, the first that
/// fits: by a member that is there, by its value, or by what kind of value it is.
const TABLE_V2: &str = "
Document swagger:1:s info:2:Info host:3:s basePath:4:s schemes:5:*s consumes:6:*s produces:7:*s paths:8:Paths definitions:9:{Schema} parameters:10:{Parameter} responses:11:{Response} security:12:*Requirement securityDefinitions:13:{Security} tags:14:*Tag externalDocs:15:ExternalDocs x-:16:a
Info title:1:s version:2:s description:3:s termsOfService:4:s contact:5:Contact license:6:License x-:7:a
Contact name:1:s url:2:s email:3:s x-:4:a
License name:1:s url:2:s x-:3:a
Tag name:1:s description:2:s externalDocs:3:ExternalDocs x-:4:a
ExternalDocs description:1:s url:2:s x-:3:a
Requirement *:1:t
Security ? type=basic:1:Basic type=apiKey:2:ApiKey
Basic type:1:s description:2:s x-:3:a
ApiKey type:1:s name:2:s in:3:s description:4:s x-:5:a
Paths x-:1:a /:2:PathItem
PathItem $ref:1:s get:2:Operation put:3:Operation post:4:Operation delete:5:Operation options:6:Operation head:7:Operation patch:8:Operation parameters:9:*ParametersItem x-:10:a
Operation tags:1:*s summary:2:s description:3:s externalDocs:4:ExternalDocs operationId:5:s produces:6:*s consumes:7:*s parameters:8:*ParametersItem responses:9:Responses schemes:10:*s deprecated:11:b security:12:*Requirement x-:13:a
ParametersItem ? $ref:2:Reference object:1:Parameter
Reference $ref:1:s description:2:s
Parameter ? in=body:1:Body object:2:NonBody
Body description:1:s name:2:s in:3:s required:4:b schema:5:Schema x-:6:a
NonBody ? in=header:1:HeaderOrPath in=formData:2:FormOrQuery in=query:3:FormOrQuery in=path:4:HeaderOrPath
HeaderOrPath required:1:b in:2:s description:3:s name:4:s type:5:s format:6:s items:7:Items collectionFormat:8:s default:9:a maximum:10:d exclusiveMaximum:11:b minimum:12:d exclusiveMinimum:13:b maxLength:14:i minLength:15:i pattern:16:s maxItems:17:i minItems:18:i uniqueItems:19:b enum:20:*a multipleOf:21:d x-:22:a
FormOrQuery required:1:b in:2:s description:3:s name:4:s allowEmptyValue:5:b type:6:s format:7:s items:8:Items collectionFormat:9:s default:10:a maximum:11:d exclusiveMaximum:12:b minimum:13:d exclusiveMinimum:14:b maxLength:15:i minLength:16:i pattern:17:s maxItems:18:i minItems:19:i uniqueItems:20:b enum:21:*a multipleOf:22:d x-:23:a
Items type:1:s format:2:s items:3:Items collectionFormat:4:s default:5:a maximum:6:d exclusiveMaximum:7:b minimum:8:d exclusiveMinimum:9:b maxLength:10:i minLength:11:i pattern:12:s maxItems:13:i minItems:14:i uniqueItems:15:b enum:16:*a multipleOf:17:d x-:18:a
Responses 0:1:ResponseValue x-:2:a
ResponseValue ? $ref:2:Reference object:1:Response
Response description:1:s schema:2:SchemaItem headers:3:{Header} examples:4:{a} x-:5:a
Header type:1:s format:2:s items:3:Items collectionFormat:4:s default:5:a maximum:6:d exclusiveMaximum:7:b minimum:8:d exclusiveMinimum:9:b maxLength:10:i minLength:11:i pattern:12:s maxItems:13:i minItems:14:i uniqueItems:15:b enum:16:*a multipleOf:17:d description:18:s x-:19:a
SchemaItem ? object:1:Schema
Schema $ref:1:s format:2:s title:3:s description:4:s default:5:a multipleOf:6:d maximum:7:d exclusiveMaximum:8:b minimum:9:d exclusiveMinimum:10:b maxLength:11:i minLength:12:i pattern:13:s maxItems:14:i minItems:15:i uniqueItems:16:b maxProperties:17:i minProperties:18:i required:19:*s enum:20:*a additionalProperties:21:AdditionalProperties type:22:t items:23:SchemaItem allOf:24:*Schema properties:25:{Schema} discriminator:26:s readOnly:27:b xml:28:Xml externalDocs:29:ExternalDocs example:30:a x-:31:a
AdditionalProperties ? object:1:Schema boolean:2:b
Xml name:1:s namespace:2:s prefix:3:s attribute:4:b wrapped:5:b x-:6:a
";

/// The same of the third version.
const TABLE_V3: &str = "
Document openapi:1:s info:2:Info servers:3:*Server paths:4:Paths components:5:Components security:6:*Requirement tags:7:*Tag externalDocs:8:ExternalDocs x-:9:a
Info title:1:s description:2:s termsOfService:3:s contact:4:Contact license:5:License version:6:s x-:7:a summary:8:s
Contact name:1:s url:2:s email:3:s x-:4:a
License name:1:s url:2:s x-:3:a
Server url:1:s description:2:s variables:3:{ServerVariable} x-:4:a
ServerVariable enum:1:*s default:2:s description:3:s x-:4:a
Tag name:1:s description:2:s externalDocs:3:ExternalDocs x-:4:a
ExternalDocs description:1:s url:2:s x-:3:a
Requirement *:1:t
Components schemas:1:{SchemaItem} responses:2:{ResponseValue} parameters:3:{ParametersItem} requestBodies:5:{BodyItem} headers:6:{HeaderItem} securitySchemes:7:{Security} x-:10:a
Security ? $ref:2:Reference object:1:SecurityScheme
SecurityScheme type:1:s description:2:s name:3:s in:4:s scheme:5:s bearerFormat:6:s openIdConnectUrl:8:s x-:9:a
Reference $ref:1:s summary:2:s description:3:s
Paths /:1:PathItem x-:2:a
PathItem $ref:1:s summary:2:s description:3:s get:4:Operation put:5:Operation post:6:Operation delete:7:Operation options:8:Operation head:9:Operation patch:10:Operation trace:11:Operation servers:12:*Server parameters:13:*ParametersItem x-:14:a
Operation tags:1:*s summary:2:s description:3:s externalDocs:4:ExternalDocs operationId:5:s parameters:6:*ParametersItem requestBody:7:BodyItem responses:8:Responses deprecated:10:b security:11:*Requirement servers:12:*Server x-:13:a
ParametersItem ? $ref:2:Reference object:1:Parameter
Parameter name:1:s in:2:s description:3:s required:4:b deprecated:5:b allowEmptyValue:6:b style:7:s explode:8:b allowReserved:9:b schema:10:SchemaItem example:11:a content:13:{MediaType} x-:14:a
BodyItem ? $ref:2:Reference object:1:Body
Body description:1:s content:2:{MediaType} required:3:b x-:4:a
Responses default:1:ResponseValue 0:2:ResponseValue x-:3:a
ResponseValue ? $ref:2:Reference object:1:Response
Response description:1:s headers:2:{HeaderItem} content:3:{MediaType} x-:5:a
HeaderItem ? $ref:2:Reference object:1:Header
Header description:1:s required:2:b deprecated:3:b allowEmptyValue:4:b style:5:s explode:6:b allowReserved:7:b schema:8:SchemaItem example:9:a content:11:{MediaType} x-:12:a
MediaType schema:1:SchemaItem example:2:a x-:5:a
SchemaItem ? $ref:2:Reference object:1:Schema
Schema nullable:1:b readOnly:3:b writeOnly:4:b xml:5:Xml externalDocs:6:ExternalDocs example:7:a deprecated:8:b title:9:s multipleOf:10:d maximum:11:d exclusiveMaximum:12:b minimum:13:d exclusiveMinimum:14:b maxLength:15:i minLength:16:i pattern:17:s maxItems:18:i minItems:19:i uniqueItems:20:b maxProperties:21:i minProperties:22:i required:23:*s enum:24:*a type:25:s allOf:26:*SchemaItem oneOf:27:*SchemaItem anyOf:28:*SchemaItem not:29:Schema items:30:ItemsItem properties:31:{SchemaItem} additionalProperties:32:AdditionalProperties default:33:Default description:34:s format:35:s x-:36:a
ItemsItem ? object:1:SchemaItem
AdditionalProperties ? object:1:SchemaItem boolean:2:b
Default ? number:1:d boolean:2:b string:3:s
Xml name:1:s namespace:2:s prefix:3:s attribute:4:b wrapped:5:b x-:6:a
";

#[derive(Clone, Copy)]
enum Type {
    Text,
    Boolean,
    Integer,
    Number,
    Anything,
    Texts,
    Message(usize),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    Many,
    Map,
}

struct Field {
    member: &'static str,
    number: u32,
    shape: Shape,
    of: Type,
}

struct Message {
    /// Of a oneof one field is written, whatever its value.
    choice: bool,
    fields: Vec<Field>,
}

/// The messages of a table; the first is that of documents.
fn read(table: &'static str) -> Vec<Message> {
    let lines = || table.lines().filter_map(|line| line.split_once(' '));
    let places: BTreeMap<&str, usize> = lines().map(|(name, _)| name).zip(0..).collect();
    let field = |text: &'static str| {
        let mut parts = text.split(':');
        let (member, number, of) = (parts.next()?, parts.next()?, parts.next()?);
        let (shape, of) = match (of.strip_prefix('*'), of.strip_prefix('{')) {
            (Some(of), _) => (Shape::Many, of),
            (None, Some(of)) => (Shape::Map, of.trim_end_matches('}')),
            (None, None) => (Shape::One, of),
        };
        let of = match of {
            "s" => Type::Text,
            "b" => Type::Boolean,
            "i" => Type::Integer,
            "d" => Type::Number,
            "a" => Type::Anything,
            "t" => Type::Texts,
            message => Type::Message(*places.get(message)?),
        };
        Some(Field {
            member,
            number: number.parse().ok()?,
            shape,
            of,
        })
    };
    let message = |(_, fields): (&'static str, &'static str)| Message {
        choice: fields.starts_with('?'),
        fields: fields.split(' ').filter_map(field).collect(),
    };
    lines().map(message).collect()
}

static V2: LazyLock<Vec<Message>> = LazyLock::new(|| read(TABLE_V2));
static V3: LazyLock<Vec<Message>> = LazyLock::new(|| read(TABLE_V3));

/// A document that somebody asked for: whoever comes while it is made waits for it.
struct Made {
    version: Version,
    hash: String,
    body: Arc<Mutex<Option<Bytes>>>,
}

/// The latest last. They are the same for all clusters of a process that have the same definitions.
static MADE: Mutex<VecDeque<Made>> = Mutex::new(VecDeque::new());

fn locked<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The document of this version and hash, which `json` makes the JSON of where it was not asked for lately.
pub(super) fn document(version: Version, hash: &str, json: impl FnOnce() -> Bytes) -> Result<Bytes, serde_json::Error> {
    let place = {
        let mut made = locked(&MADE);
        let known = made.iter().position(|m| m.version == version && m.hash == hash);
        let made_or_new = known.and_then(|at| made.remove(at)).unwrap_or_else(|| Made {
            version,
            hash: hash.to_owned(),
            body: Arc::default(),
        });
        let place = made_or_new.body.clone();
        made.push_back(made_or_new);
        place
    };
    let mut body = locked(&place);
    if let Some(body) = &*body {
        return Ok(body.clone());
    }
    let document = encode(version, &serde_json::from_slice(&json())?);
    *body = Some(document.clone());
    drop(body);
    forget(&mut locked(&MADE), KEPT);
    Ok(document)
}

/// Drops the oldest of what is made until no more than `most` bytes are left, but not the last.
fn forget(made: &mut VecDeque<Made>, most: usize) {
    // What is being made has no size yet.
    let size = |m: &Made| m.body.try_lock().map_or(0, |b| b.as_ref().map_or(0, Bytes::len));
    let mut all: usize = made.iter().map(size).sum();
    while all > most && made.len() > 1 {
        all -= made.pop_front().as_ref().map_or(0, size);
    }
}

fn encode(version: Version, document: &Value) -> Bytes {
    let table: &[Message] = match version {
        Version::V2 => &V2,
        Version::V3 => &V3,
    };
    let mut out = Backward::with_capacity(1 << 16);
    message(&mut out, table, 0, document);
    out.finish()
}

fn message(out: &mut Backward, table: &[Message], of: usize, v: &Value) {
    let Message { choice, fields } = &table[of];
    if *choice {
        if let Some(f) = fields.iter().find(|f| fits(f.member, v)) {
            value(out, table, f.number, f.of, v, true);
        }
        return;
    }
    // Fields are in the order of their numbers.
    for f in fields.iter().rev() {
        let members = |wanted: fn(&str) -> bool| {
            let all = v.as_object().into_iter().flat_map(Map::iter).rev();
            all.filter(move |(k, _)| wanted(k))
        };
        match f.member {
            "x-" => named(out, table, f, members(|k| k.starts_with("x-"))),
            "/" => named(out, table, f, members(|k| k.starts_with('/'))),
            "*" => named(out, table, f, members(|_| true)),
            "0" => {
                let own = fields.iter().any(|f| f.member == "default");
                let codes = members(|k| k == "default" || k.len() == 3 && !k.starts_with("x-"));
                named(out, table, f, codes.filter(|(k, _)| !(own && *k == "default")));
            }
            member => match (f.shape, v.get(member)) {
                (_, None) => {}
                (Shape::One, Some(v)) => value(out, table, f.number, f.of, v, false),
                (Shape::Many, Some(v)) => {
                    for v in v.as_array().into_iter().flatten().rev() {
                        value(out, table, f.number, f.of, v, true);
                    }
                }
                (Shape::Map, Some(v)) => out.message(f.number, |out| {
                    let entries = Field { number: 1, ..*f };
                    named(
                        out,
                        table,
                        &entries,
                        v.as_object().into_iter().flat_map(Map::iter).rev(),
                    );
                }),
            },
        }
    }
}

/// Values with their names (`NamedAny` and the like), the last first.
fn named<'a>(out: &mut Backward, table: &[Message], f: &Field, all: impl Iterator<Item = (&'a String, &'a Value)>) {
    for (name, v) in all {
        out.message(f.number, |out| {
            value(out, table, 2, f.of, v, false);
            if !name.is_empty() {
                out.text(1, name);
            }
        });
    }
}

/// Whether a value is what a choice is for.
fn fits(choice: &str, v: &Value) -> bool {
    match choice {
        "object" => v.is_object(),
        "boolean" => v.is_boolean(),
        "number" => v.is_number(),
        "string" => v.is_string(),
        member => match member.split_once('=') {
            Some((member, value)) => v[member] == value,
            None => v.get(member).is_some(),
        },
    }
}

/// One value; `always`: also where it is its type's zero, which is not written elsewhere.
fn value(out: &mut Backward, table: &[Message], number: u32, of: Type, v: &Value, always: bool) {
    match of {
        Type::Text => {
            let text = v.as_str().unwrap_or_default();
            if always || !text.is_empty() {
                out.text(number, text);
            }
        }
        Type::Boolean => {
            if always || v == true {
                out.boolean(number, v == true);
            }
        }
        Type::Integer => {
            let n = v.as_i64().unwrap_or_default();
            if always || n != 0 {
                out.integer(number, n);
            }
        }
        Type::Number => {
            let n = v.as_f64().unwrap_or_default();
            if always || n != 0.0 {
                out.double(number, n);
            }
        }
        // `Any`, of which nobody sets the value.
        Type::Anything => out.message(number, |out| out.text(2, yaml::text(v))),
        Type::Texts => out.message(number, |out| match v {
            Value::Array(all) => {
                for v in all.iter().rev() {
                    out.text(1, v.as_str().unwrap_or_default());
                }
            }
            one => out.text(1, one.as_str().unwrap_or_default()),
        }),
        Type::Message(of) => out.message(number, |out| message(out, table, of, v)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The bytes are those that `gnostic-models` v0.7.0 makes of the same documents.
    #[test]
    fn what_says_nothing_is_not_there_but_where_it_is_a_choice() {
        let schema = |v: Value| {
            let document = json!({"components": {"schemas": {"a": v}}});
            // Components, schemas, the name, the choice: what is left is the schema.
            let bytes = encode(Version::V3, &document);
            let inner = &bytes[11..];
            (bytes[..11].to_vec(), inner.to_vec())
        };
        let (head, inner) =
            schema(json!({"type": "string", "description": "", "minLength": 0, "default": "", "nullable": false}));
        assert_eq!(head, [42, 25, 10, 23, 10, 21, 10, 1, b'a', 18, 16]);
        assert_eq!(
            inner,
            [&[10, 14, 202, 1, 6][..], b"string", &[138, 2, 2, 26, 0]].concat()[..]
        );
        let (_, inner) = schema(json!({"$ref": "#/x"}));
        assert_eq!(inner, [&[18, 5, 10, 3][..], b"#/x"].concat());
        let (_, inner) = schema(json!({"default": {}, "additionalProperties": false}));
        assert_eq!(inner, [10, 8, 130, 2, 2, 16, 0, 138, 2, 0]);
        let (_, inner) = schema(json!({"minimum": 0.5, "x-a": "b"}));
        let any = [&[162, 2, 11, 10, 3][..], b"x-a", &[18, 4, 18, 2], b"b\n"].concat();
        assert!(inner.ends_with(&any), "{inner:?}");
    }

    #[test]
    fn what_was_asked_for_last_is_kept() {
        let made = |size: usize| Made {
            version: Version::V3,
            hash: size.to_string(),
            body: Arc::new(Mutex::new(Some(vec![0; size].into()))),
        };
        let sizes = |kept: VecDeque<Made>| kept.into_iter().map(|m| m.hash).collect::<Vec<_>>();
        let after = |most| {
            let mut all: VecDeque<Made> = [5, 1, 2, 3].map(made).into();
            forget(&mut all, most);
            sizes(all)
        };
        assert_eq!(after(11), ["5", "1", "2", "3"]);
        assert_eq!(after(10), ["1", "2", "3"]);
        assert_eq!(after(4), ["3"]);
        assert_eq!(after(0), ["3"]);
    }

    #[test]
    fn a_document_is_made_once() {
        let json = || Bytes::from_static(b"{\"swagger\":\"2.0\",\"security\":[{\"t\":[]}]}");
        let first = document(Version::V2, "made once", json).unwrap();
        assert_eq!(
            &first[..],
            [&[10, 3][..], b"2.0", &[98, 7, 10, 5, 10, 1, b't', 18, 0]].concat()
        );
        let again = document(Version::V2, "made once", || unreachable!("it is kept")).unwrap();
        assert_eq!(first, again);
        assert!(document(Version::V3, "made once", || Bytes::from_static(b"{")).is_err());
    }
}
