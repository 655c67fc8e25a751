# One record of a made-up patient, whose seed this pod alone holds: written, shared with a recipient of this member, asked for,
# opened, compared, and erased again. What stays are its few transactions on the ledger.
umask 077
head -c 24 /dev/urandom | base64 > passphrase
name=test-$(head -c 4 /dev/urandom | od -An -tx4 | tr -d ' ')
as() { "$@" --passphrase-file passphrase --as "$who"; }
head -c 100000 /dev/urandom > letter
echo "helm test" > why
consilium patient enrol "$name" --passphrase-file passphrase
who=$name-desk
consilium recipient enrol "$who" --out desk.address --passphrase-file passphrase
who=$name
as consilium record put letter --scope test
as consilium share grant desk.address --scope test --purpose treatment --days 1 --out reference
who=$name-desk
as consilium record get reference --why why --out opened
cmp letter opened
who=$name
as consilium record erase letter --yes
echo "$CONSILIUM_CLIENT_MEMBER_ID: a record was written, shared, opened and erased"
