#!/bin/bash
# Build the Debian package into FOLDER, the same to the last bit wherever and whenever it is built.
#
#   packaging/build-deb.sh FOLDER
#
# BIN         where the environment's programs are (.venv/bin)
# REQUIREMENTS  what goes into the package, with hashes (requirements/runtime.txt)
# SOURCE_DATE_EPOCH  the only time in it (the last commit's)
#
# What goes in is checked by hash. pyscard, which is published as source, is compiled here.

set -eu -o pipefail
umask 022

folder=$(mkdir -p "$1" && realpath "$1")
source=$(realpath "$(dirname "$0")/..")
cd "$source"
BIN=$(realpath "${BIN:-.venv/bin}")
REQUIREMENTS=$(realpath "${REQUIREMENTS:-requirements/runtime.txt}")
export SOURCE_DATE_EPOCH="${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}"
export LC_ALL=C.UTF-8 TZ=UTC PYTHONHASHSEED=0 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
home=$root/opt/jpki-appliance
packages=$home/lib/python3.11/site-packages
python=/usr/bin/python3.11
[ -x "$python" ] || { echo "the package is for Debian's own Python 3.11, which is not installed" >&2; exit 1; }
[ "$("$BIN/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" = 3.11 ] ||
    { echo "the package has to be built with a Python 3.11" >&2; exit 1; }
version=$("$BIN/hatchling" version)

# -- the environment under /opt -------------------------------------------------------------------

mkdir -p "$home/bin" "$packages" "$work/wheels"
ln -s "$python" "$home/bin/python"
ln -s python "$home/bin/python3"
cat > "$home/pyvenv.cfg" <<EOF
home = /usr/bin
include-system-site-packages = false
EOF
"$BIN/hatchling" build --target wheel --directory "$work/wheels" 2>/dev/null
"$BIN/pip" download --quiet --no-deps --require-hashes --no-build-isolation \
    --dest "$work/downloads" --requirement "$REQUIREMENTS"
mv "$work"/downloads/*.whl "$work/wheels/"
for archive in "$work"/downloads/*; do
    [ -e "$archive" ] || continue
    CFLAGS="-g0 -ffile-prefix-map=$work=." LDFLAGS="-s -Wl,--build-id=none" LDSHARED="gcc -shared" \
        "$BIN/pip" wheel --quiet --no-deps --no-index --no-build-isolation --no-cache-dir \
        --wheel-dir "$work/wheels" "$archive"
done
"$BIN/pip" --python "$home/bin/python" install --quiet --no-deps --no-index --no-compile --no-warn-script-location \
    --root-user-action=ignore "$work"/wheels/*.whl

# What says where and how it was installed; dpkg knows better. The programs of other projects stay out.
find "$packages" -path '*.dist-info/*' \( -name RECORD -o -name direct_url.json -o -name REQUESTED -o -name INSTALLER \) -delete
find "$home/bin" -type f -delete
rm -rf "$home/share/man"
find "$home" -name __pycache__ -type d -prune -exec rm -rf {} +
find "$home" -name '*.so*' -type f -exec chmod 644 {} +
cat > "$home/bin/jpki-appliance" <<'EOF'
#!/opt/jpki-appliance/bin/python -I
from appliance.cli.main import main

main()
EOF
chmod 755 "$home/bin/jpki-appliance"

# -- what surrounds it ----------------------------------------------------------------------------

put() { install -D --mode="${3:-644}" "$1" "$root/$2"; }

mkdir -p "$root/usr/bin"
ln -s /opt/jpki-appliance/bin/jpki-appliance "$root/usr/bin/jpki-appliance"
for unit in systemd/*.service systemd/*.socket; do put "$unit" "usr/lib/systemd/system/$(basename "$unit")"; done
put systemd/sysusers.conf usr/lib/sysusers.d/jpki-appliance.conf
put systemd/tmpfiles.conf usr/lib/tmpfiles.d/jpki-appliance.conf
put systemd/polkit.rules usr/share/polkit-1/rules.d/60-jpki-appliance.rules
for file in systemd/drop-ins/*.conf; do put "$file" "usr/share/jpki-appliance/drop-ins/$(basename "$file")"; done
find monitoring -type f ! -path '*/tests/*' -printf '%P\n' | sort |
    while read -r file; do put "monitoring/$file" "usr/share/jpki-appliance/monitoring/$file"; done
ln -s /opt/jpki-appliance/share/jpki-appliance/hsm-config "$root/usr/share/jpki-appliance/hsm-config"

# Nothing lies in /etc: what a site configures is its own, and dpkg has nothing to ask about it. postinst copies what is missing.
mkdir -p "$root/usr/share/jpki-appliance/configuration"
for file in appliance.toml terminal.toml handover.toml; do
    "$BIN/python" packaging/configuration.py "$file" > "$root/usr/share/jpki-appliance/configuration/$file"
done

doc=$root/usr/share/doc/jpki-appliance
"$home/bin/python" packaging/documentation.py "$doc"
cp packaging/debian/copyright "$doc/copyright"
{
    echo "jpki-appliance ($version) bookworm; urgency=medium"
    printf '\n  * CHANGELOG.md, beside this file, says what changes for an operator.\n\n'
    echo " -- $(sed -n 's/^Maintainer: //p' packaging/debian/control)  $(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")"
} > "$doc/changelog"
"$home/bin/python" packaging/manual.py "$root/usr/share/man"
"$BIN/cyclonedx-py" environment --output-reproducible --spec-version 1.6 --pyproject pyproject.toml \
    --mc-type application --output-file "$doc/sbom.cdx.json" "$home/bin/python" 2>/dev/null
put packaging/debian/lintian-overrides usr/share/lintian/overrides/jpki-appliance
gzip --best --no-name "$doc/changelog" "$doc/sbom.cdx.json"
find "$root/usr/share/man" -type f -exec gzip --best --no-name {} +

# -- the package ----------------------------------------------------------------------------------

mkdir "$root/DEBIAN"
for script in postinst prerm postrm; do install --mode=755 "packaging/debian/$script" "$root/DEBIAN/$script"; done
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | sort | tr '\n' '\0' | xargs -0 md5sum) \
    > "$root/DEBIAN/md5sums"
sed -e "s/@VERSION@/$version/" \
    -e "s/@ARCHITECTURE@/$(dpkg --print-architecture)/" \
    -e "s/@SIZE@/$(find "$root" -path "$root/DEBIAN" -prune -o -type f -printf '%s\n' | awk '{ sum += int($1 / 1024) + 1 } END { print sum }')/" \
    packaging/debian/control > "$root/DEBIAN/control"
chmod -R u+rwX,go+rX,go-w "$root"
find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +

result=$folder/jpki-appliance_${version}_$(dpkg --print-architecture).deb
dpkg-deb --root-owner-group --threads-max=1 -Zxz -z2 --build "$root" "$result" >/dev/null
sha256sum "$result"
