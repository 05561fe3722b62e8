# imitation 1.0.1 asks for versions of years ago, which do not install beside these; without its pins it runs on them.
"$place/bin/pip" install -q --disable-pip-version-check --no-deps imitation==1.0.1 seals==0.2.1
