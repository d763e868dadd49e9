# SPDX-License-Identifier: Apache-2.0
"""Kafka's own Java tools and clients, fetched by Maven, and the scenarios of tests/interop/java/src, which drive
the clients and are compiled here."""

import contextlib
import os
import pathlib
import shutil
import subprocess

from sluice import BUILD, run, skip

POM = pathlib.Path(__file__).resolve().parents[1] / "java" / "pom.xml"
JAVA = ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
TOOLS = "org.apache.kafka.tools."


def classpath():
    """Skips the calling test, with the reason, where there is no JDK, Maven or repository."""
    for program in ("java", "mvn"):
        if not shutil.which(program):
            skip(f"{program} is not installed")
    folder = BUILD / "interop" / "java"
    cached = folder / "classpath"
    if not cached.exists() or cached.stat().st_mtime < POM.stat().st_mtime:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(POM, folder / "pom.xml")
        done = subprocess.run(["mvn", "-q", "-B", "dependency:build-classpath",
                               f"-Dmdep.outputFile={cached}.new"], cwd=folder, capture_output=True,
                              text=True, timeout=900)
        if done.returncode != 0:
            skip("Maven cannot fetch Kafka's clients: " + (done.stdout.strip().splitlines() or ["?"])[0])
        pathlib.Path(f"{cached}.new").rename(cached)
    return cached.read_text().strip()


def compiled():
    """The class path of the scenarios; skips like classpath(), and where there is no compiler."""
    jars = classpath()
    if not shutil.which("javac"):
        skip("javac is not installed")
    classes = BUILD / "interop" / "java" / "classes"
    sources = sorted((POM.parent / "src").glob("*.java"))
    stamp = classes / "stamp"
    if not stamp.exists() or stamp.stat().st_mtime < max(s.stat().st_mtime for s in [POM, *sources]):
        shutil.rmtree(classes, ignore_errors=True)
        run(["javac", "-Xlint:all,-path,-classfile", "-Werror", "-d", classes, *sources], timeout=300,
            env={"CLASSPATH": jars})
        stamp.touch()
    return f"{classes}:{jars}"


def kafka(main_class, *args, timeout=120, input=None, status=0):
    return run([*JAVA, "-Xmx256m", main_class, *args], timeout=timeout, input=input, status=status,
               env={"CLASSPATH": classpath()}).decode()


def scenario(name, *args, timeout=170):
    """Runs a class of tests/interop/java/src and prints what it measured."""
    text = run([*JAVA, "-Xmx512m", name, *args], timeout=timeout, env={"CLASSPATH": compiled()}).decode()
    print("".join(f"  {line}\n" for line in text.splitlines()), end="", flush=True)
    return text


@contextlib.contextmanager
def program(main_class, *args, log, cwd=None):
    """A Java program that runs beside the test and is killed at the end if it still runs."""
    with open(log, "ab") as out:
        process = subprocess.Popen([*JAVA, "-Xmx512m", main_class, *map(str, args)], stdout=out, stderr=out, cwd=cwd,
                                   env={**os.environ, "CLASSPATH": compiled()})
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
