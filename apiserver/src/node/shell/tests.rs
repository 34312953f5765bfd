//! Scripts as pods have them: what they print and how they end.

use super::*;
use crate::node::files::{Inode, Mount, User, Volume};

fn process() -> Process {
    let mut root = Inode::directory(0o755);
    root.put("etc/config/data-1", Inode::file(0o400, b"value-1".to_vec()));
    root.put("tmp", Inode::directory(0o1777));
    root.put("dev/termination-log", Inode::file(0o666, Vec::new()));
    let files = Files::new(
        vec![Mount::new("/", Volume::new(root, "61267"), "", false)],
        User::default(),
    );
    let env = BTreeMap::from([("A".to_owned(), "a b".to_owned()), ("IP".to_owned(), "1".to_owned())]);
    let clock: SharedClock = Arc::new(cfn_net::SystemClock);
    Process::of(
        &serde_json::json!({"metadata": {"name": "p"}}),
        &Value::Null,
        "n",
        &env,
        files,
        &clock,
        None,
    )
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|w| (*w).to_owned()).collect()
}

/// Scripts that are as deep as they may be run with the stack that a thread has, and those that run themselves come to an
/// end.
#[tokio::test(start_paused = true)]
async fn depth() {
    let nested = |open: &str, inner: &str, close: &str, n| [open.repeat(n), inner.into(), close.repeat(n)].concat();
    for (open, inner, close) in [
        ("(", "echo hi", ")"),
        ("{ ", "echo hi", "; }"),
        ("echo $(", "echo hi", ")"),
        ("if true; then ", "echo hi", "; fi"),
        ("for i in 1; do ", "echo hi", "; done"),
        ("! ! ", "echo hi", ""),
    ] {
        let (out, err, code) = run(&["sh", "-c", &nested(open, inner, close, 12)]).await;
        assert_eq!((out.as_str(), err.as_str(), code), ("hi\n", "", 0), "{open}");
    }
    let too_deep = "sh: maximum recursion depth exceeded\n";
    for script in [
        "export S='sh -c \"$S\"'; sh -c \"$S\"",
        "export S='echo $(sh -c \"$S\")'; sh -c \"$S\"",
        "export S='true && { (sh -c \"$S\"); }'; if sh -c \"$S\"; then :; fi",
    ] {
        let (_, err, _) = run(&["sh", "-c", script]).await;
        assert_eq!(err, too_deep, "{script}");
    }
    for word in ["exec ", "env ", "env A=b "] {
        let (out, err, code) = run(&["sh", "-c", &format!("{} echo hi", word.repeat(100_000))]).await;
        let is = (out.is_empty(), err == too_deep, code);
        assert_eq!(is, (true, true, 2), "{word}: {err:.80}");
    }
    for test in [
        format!("test {} x", "! ".repeat(100_000)),
        format!("test {} x", "x -a y -o ".repeat(50_000)),
    ] {
        assert_eq!(run(&["sh", "-c", &test]).await.2, 0);
    }
    // What failed is as deep as before.
    let (out, ..) = run(&[
        "sh",
        "-c",
        "for i in $(seq 1 200); do { true; } >/no/such; ! (false); done; echo end",
    ])
    .await;
    assert_eq!(out, "end\n");
}

/// A command that never ends is not read again for ever.
#[tokio::test(start_paused = true)]
async fn a_command_of_many_lines() {
    let input = format!("echo '{}", "\n".repeat(100_000)).into_bytes();
    let (_, err, code) = fed(&["sh"], input).await;
    let why = "sh: syntax error: a command of too many lines\n";
    assert_eq!((err.as_str(), code), (why, 2));
}

async fn run(words: &[&str]) -> (String, String, i32) {
    fed(words, b"in\n".to_vec()).await
}

/// What a command writes that reads `input`, and its exit code.
async fn fed(words: &[&str], input: Vec<u8>) -> (String, String, i32) {
    let (tell, stdin) = crate::local::Input::new(true);
    assert!(tell.send(input).await);
    drop(tell);
    let (stdio, heard) = Stdio::heard(Some(stdin), false);
    let code = execute(process(), &argv(words), stdio).await;
    let [out, err] = heard.lock().unwrap().clone().map(|b| String::from_utf8(b).unwrap());
    (out, err, code)
}

#[tokio::test(start_paused = true)]
async fn scripts() {
    for (script, out, code) in [
        ("echo hi", "hi\n", 0),
        ("/bin/echo -n DONE; /bin/false", "DONE", 1),
        ("echo $A \"$A\" '$A'", "a b a b $A\n", 0),
        ("for w in $A; do echo $w; done", "a\nb\n", 0),
        (
            "[[ \"${IP:?}\" == \"${A:?}\" ]] && echo OK || echo \"'${IP}' != '${A}'\"",
            "'1' != 'a b'\n",
            0,
        ),
        ("cat /etc/config/data-1 && exit 3", "value-1", 3),
        ("read x; echo \"<$x>\"; read x || echo over", "<in>\nover\n", 0),
        (
            "printf 'a b\\nc\\n' | while read x y; do echo \"$y$x\"; done",
            "ba\nc\n",
            0,
        ),
        ("printf 'if true\\nthen echo a; fi\\nexit 4\\necho b' | sh", "a\n", 4),
        ("cat /nope || echo no", "no\n", 0),
        ("test -d /etc/config; echo $?", "0\n", 0),
        ("echo x > /tmp/f; echo y >> /tmp/f; cat /tmp/f | wc -l", "2\n", 0),
        ("i=0; while [ $i -lt 3 ]; do i=$((i+1)); done; echo $i", "3\n", 0),
        ("i=1; until test $i = 11; do i=1$i; done; echo $i", "11\n", 0),
        (
            "if false; then echo a; elif true; then echo b; else echo c; fi",
            "b\n",
            0,
        ),
        ("echo $(echo a; echo b)`echo c`", "a bc\n", 0),
        ("TEST_VAR=wrong echo \"test-value\"", "test-value\n", 0),
        ("echo ${NOPE:-default} ${A:+set}", "default set\n", 0),
        ("cat /nope 2>&1 | grep -c 'No such file'", "1\n", 0),
        ("echo hidden > /dev/null; (exit 4)", "", 4),
        ("set -e; false; echo never", "never\n", 0),
        ("sleep 100; echo later", "later\n", 0),
        ("cat", "in\n", 0),
        ("printf '%s-%s\\n' a b", "a-b\n", 0),
        ("id -u; whoami; hostname", "0\nroot\np\n", 0),
        ("rm /nope", "", 1),
        (
            "f=/tmp/c; count=$(echo 'hello' >> $f ; wc -l $f | awk {'print $1'}); echo $count",
            "1\n",
            0,
        ),
        ("if [ $(expr 3 % 2) -ne 0 ]; then exit 1; else exit 0; fi", "", 1),
        ("curl http://10.0.0.1:80/x", "", 7),
        ("stat -c %a /etc/config/data-1", "400\n", 0),
        ("ls /etc/config; ls /etc/c*", "data-1\ndata-1\n", 0),
    ] {
        let (found, err, status) = run(&["sh", "-c", script]).await;
        assert_eq!((found.as_str(), status), (out, code), "{script}: {err}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_shell_may_have_options_and_arguments() {
    assert_eq!(
        run(&["/bin/sh", "-x", "-c", "echo $0 $1 $#", "n", "a"]).await.0,
        "n a 1\n"
    );
    assert_eq!(
        run(&["sh", "-ec", "false; echo never"]).await,
        (String::new(), String::new(), 1)
    );
    // It reads its commands: `in` is none.
    assert_eq!(run(&["sh"]).await, (String::new(), "sh: in: not found\n".into(), 127));
}

#[tokio::test(start_paused = true)]
async fn programs_of_the_test_image() {
    for (args, out) in [
        (
            &["/agnhost", "entrypoint-tester", "a", "b"][..],
            "[/agnhost entrypoint-tester a b]\n",
        ),
        (
            &["/agnhost", "mounttest", "--file_content=/etc/config/data-1"],
            "content of file \"/etc/config/data-1\": value-1\n",
        ),
        (
            &["/agnhost", "mounttest", "--file_mode=/etc/config/data-1"],
            "mode of file \"/etc/config/data-1\": -r--------\n",
        ),
        (
            &["/agnhost", "mounttest", "--file_perm=/tmp/n", "--new_file_0666=/tmp/n"],
            "content of file \"/tmp/n\": mount-tester new file\n\nperms of file \"/tmp/n\": -rw-rw-rw-\n",
        ),
    ] {
        let (found, _, code) = run(args).await;
        assert_eq!((found.as_str(), code), (out, 0), "{args:?}");
    }
    let (out, _, code) = run(&["/agnhost", "mounttest", "--file_content=/nope"]).await;
    assert_eq!(
        out,
        "error reading file content for \"/nope\": open /nope: no such file or directory\n"
    );
    assert_eq!(code, 1);
}

#[test]
fn what_is_not_understood_is_not_interpreted() {
    for (words, expected) in [
        (&["sh", "-c", "sleep 5"][..], true),
        (&["/bin/true"], true),
        (&["sh", "-c", "perl x"], false),
        (&["sh", "-c", "cat /proc/self/status"], true),
        (&["sh", "-c", "cat /proc/cpuinfo"], false),
        (&["/crash/missing"], false),
        (&["/agnhost", "no-such-program"], false),
        (&["sh", "script.sh"], false),
    ] {
        assert_eq!(is_understood(&argv(words)), expected, "{words:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_trap_ends_a_loop() {
    let p = process();
    let term = p.term.clone();
    let line = argv(&["sh", "-c", "trap exit TERM; while true; do sleep 1; done"]);
    let running = tokio::spawn(async move { execute(p, &line, Stdio::null()).await });
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    term.cancel();
    assert_eq!(running.await.unwrap(), 0);
}

#[test]
fn command_lines_of_images() {
    let of = |image: &str| Interpreted(images::find(&format!("registry.k8s.io/e2e-test-images/{image}:1")).unwrap());
    let (agnhost, busybox) = (of("agnhost"), of("busybox"));
    for (w, container, expected) in [
        (&agnhost, serde_json::json!({}), "/agnhost pause"),
        (
            &agnhost,
            serde_json::json!({"args": ["mounttest"]}),
            "/agnhost mounttest",
        ),
        (
            &agnhost,
            serde_json::json!({"command": ["sh"], "args": ["-c", "env"]}),
            "sh -c env",
        ),
        (&busybox, serde_json::json!({}), "sh"),
    ] {
        assert_eq!(w.command_line(&container, &BTreeMap::new()).join(" "), expected);
    }
}

/// A session: what is typed, in pieces, and what is seen by its end.
async fn session(line: &[&str], terminal: bool, typed: &[&str]) -> (String, String, i32) {
    let (keys, stdin) = crate::local::Input::new(true);
    let (stdio, heard) = Stdio::heard(Some(stdin), terminal);
    let typing = async {
        for t in typed {
            assert!(keys.send(t.as_bytes().to_vec()).await);
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
        // Who types goes; a shell that is left to itself ends.
        drop(keys);
    };
    let line = argv(line);
    let running = execute(process(), &line, stdio);
    let (code, ()) = tokio::join!(running, typing);
    let [out, err] = heard.lock().unwrap().clone().map(|b| String::from_utf8(b).unwrap());
    (out, err, code)
}

#[tokio::test(start_paused = true)]
async fn a_command_hears_what_is_typed_as_it_is_typed() {
    let (out, err, code) = session(&["sh"], false, &["echo hi; nosuch\n", "echo again\nexit 3\n"]).await;
    assert_eq!((out.as_str(), code), ("hi\nagain\n", 3));
    assert!(err.contains("nosuch: not found"), "{err}");
    let (out, _, code) = session(&["cat"], false, &["a\n", "b\n"]).await;
    assert_eq!((out.as_str(), code), ("a\nb\n", 0));
}

#[tokio::test(start_paused = true)]
async fn a_shell_at_a_terminal() {
    for (typed, seen, code) in [
        (
            &["echo hi\r", "cd /tmp\r", "exit 3\r"][..],
            "/ # echo hi\r\nhi\r\n/ # cd /tmp\r\n/tmp # exit 3\r\n",
            3,
        ),
        // A command that is not whole, one that Ctrl-C ends, and one that is not said to its end.
        (
            &[
                "if true\r",
                "then echo a; fi\r",
                "sleep 1000\r",
                "\x03",
                "echo $?\r",
                "ec\x03",
                "\x04",
            ],
            "/ # if true\r\n> then echo a; fi\r\na\r\n/ # sleep 1000\r\n^C\r\n/ # echo $?\r\n130\r\n/ # ec^C\r\n/ # ",
            130,
        ),
        // The end is that of who reads: the shell goes on.
        (
            &["cat\r", "x\r", "\x04", "exit\r"],
            "/ # cat\r\nx\r\nx\r\n/ # exit\r\n",
            0,
        ),
        // A shell in a shell: Ctrl-C is for the one inside.
        (
            &["sh\r", "sleep 1000\r", "\x03", "exit 4\r", "echo $?\r", "exit\r"],
            "/ # sh\r\n/ # sleep 1000\r\n^C\r\n/ # exit 4\r\n/ # echo $?\r\n4\r\n/ # exit\r\n",
            0,
        ),
    ] {
        let (out, err, ended) = session(&["sh"], true, typed).await;
        assert_eq!((out.as_str(), err.as_str(), ended), (seen, "", code), "{typed:?}");
    }
    let (out, _, code) = session(&["sh", "-c", "echo a; sleep 1000"], true, &["\x03"]).await;
    assert_eq!((out.as_str(), code), ("a\r\n^C", 130));
}
