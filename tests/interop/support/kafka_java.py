# SPDX-License-Identifier: Apache-2.0
"""Kafka's own Java tools, fetched by Maven, run one command at a time."""

import pathlib
import shutil
import subprocess

from sluice import BUILD, run, skip

POM = pathlib.Path(__file__).resolve().parents[1] / "java" / "pom.xml"


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


def kafka(main_class, *args, timeout=120, input=None, status=0):
    return run(["java", "-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classpath(),
                main_class, *args], timeout=timeout, input=input, status=status).decode()
