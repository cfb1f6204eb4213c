/* Signing digests, against digests and signatures that viem and the x402 reference stack made for these inputs. */
#include "base/amount.h"
#include "crypto/crypto.h"
#include "tests/unit/unit.h"

#define TRANSFER \
	"TransferWithAuthorization(address from,address to,uint256 value,uint256 validAfter,uint256 validBefore,bytes32 nonce)"
#define PERMIT "Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"
#define TOKEN_PERMISSIONS "TokenPermissions(address token,uint256 amount)"
#define WITNESS "Witness(address to,uint256 validAfter)"
#define PERMIT_WITNESS \
	"PermitWitnessTransferFrom(TokenPermissions permitted,address spender,uint256 nonce,uint256 deadline,Witness witness)"

#define PAYER "0x90F79bf6EB2c4f870365E785982E1f101E93b906"
#define PAYEE "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC"
#define TOKEN "0x5FbDB2315678afecb367f032d93F642f64180aa3"
#define PERMIT2 "0x000000000022D473030F116dDEE9F6B43aC78BA3"
#define PROXY "0x402085c248EeA27D92E8b30b2C58ed07f9E20001"
#define PAYER_KEY "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"

static struct address addr(const char *s)
{
	struct address a;
	assert_int_equal(address_parse(s, &a), ERR_OK);
	return a;
}

static void assert_hash(const struct hash *h, const char *hex)
{
	assert_string_equal(hash_format(h).s, hex);
}

static void assert_signed_by_payer(const struct hash *digest, const char *signature)
{
	struct secret_key key;
	struct signature sig;
	struct address who, payer = addr(PAYER);
	assert_int_equal(secret_key_parse(PAYER_KEY, &key), ERR_OK);
	ecdsa_sign(&key, digest, &sig);
	assert_string_equal(signature_format(&sig).s, signature);
	assert_int_equal(ecdsa_recover(digest, &sig, &who), ERR_OK);
	assert_true(address_equal(&who, &payer));
}

static void token_domain(struct hash *ret)
{
	struct address token = addr(TOKEN);
	eip712_domain("OPG", "1", 84532, &token, ret);
}

static void push_amount(struct eip712 *e, const char *decimal)
{
	struct amount a;
	uint8_t word[32];
	assert_int_equal(amount_parse(decimal, strlen(decimal), &a), ERR_OK);
	amount_to_be(a, word);
	eip712_word(e, word);
}

static void push_address(struct eip712 *e, const char *text)
{
	struct address a = addr(text);
	eip712_address(e, &a);
}

static void domains(void **state)
{
	(void)state;
	struct hash h;
	struct address permit2 = addr(PERMIT2);
	token_domain(&h);
	assert_hash(&h, "0x9b099b858b297f8bb7179c5ac23124fe3a0dbb757f2871419ae2d69a2fc0525f");
	eip712_domain("Permit2", NULL, 84532, &permit2, &h);
	assert_hash(&h, "0x010f27a92fb9a32622f44f001dc4d15706a85b33499cfc2ce9033113ab26592c");
	eip712_domain("opgate", "1", 84532, NULL, &h);
	assert_hash(&h, "0xb93a9a760fb474a8e540bead402ca73ead1699a61e34709c34f045c56f177924");
}

static void eip3009_transfer(void **state)
{
	(void)state;
	struct eip712 e;
	struct hash domain, nonce, digest;
	token_domain(&domain);
	memset(nonce.b, 0x11, sizeof(nonce.b));
	eip712_begin(&e, TRANSFER);
	push_address(&e, PAYER);
	push_address(&e, PAYEE);
	push_amount(&e, "1000000000000000");
	eip712_uint(&e, 0);
	eip712_uint(&e, 1893456000);
	eip712_hash(&e, &nonce);
	struct hash type_hash;
	memcpy(type_hash.b, e.words, 32);
	assert_hash(&type_hash, "0x7c7c6cdb67a18743f49ec6fa9b35f50d52ed05cbed4cc592e13b44501c1a2267");
	eip712_digest(&e, &domain, &digest);
	assert_hash(&digest, "0x19b0f789e6515235ca31529e532f588c32eba8e0dfc5ea1f5d1d263f2e532998");
	assert_signed_by_payer(&digest, "0x881f3475d5001d5ad5d579650da203e6add1656b287c5e554e327a6cd55065c5"
					"634a0fdcc72544ad79d44d650c02f6be7e6acd4729cff864c5b5c32c3259527c1b");
}

static void eip2612_permit(void **state)
{
	(void)state;
	struct eip712 e;
	struct hash domain, digest;
	token_domain(&domain);
	eip712_begin(&e, PERMIT);
	push_address(&e, PAYER);
	push_address(&e, PERMIT2);
	push_amount(&e, "1000000000000000");
	eip712_uint(&e, 0);
	eip712_uint(&e, 1893456000);
	eip712_digest(&e, &domain, &digest);
	assert_hash(&digest, "0x7c943a5b068b7a641913662e7e86549e6a1cabd501e5f48267101e9819dc687d");
	assert_signed_by_payer(&digest, "0x401a94c0abf5cbe102518091210494d30d3cb3f435bf153519cc8acec0d842a3"
					"559f5f27bf76a16d59ba92051e3c9f181f4305255f84dbdced0005501f0ee4d91b");
}

/* Nested types are the caller's business: a member struct is its hash, pushed as bytes32. */
static void nested_by_hand(void **state)
{
	(void)state;
	struct eip712 e;
	struct hash domain, permitted, witness, digest;
	struct address permit2 = addr(PERMIT2);
	eip712_begin(&e, TOKEN_PERMISSIONS);
	push_address(&e, TOKEN);
	push_amount(&e, "1000000000000000");
	keccak256(e.words, 32 * e.count, &permitted);
	eip712_begin(&e, WITNESS);
	push_address(&e, PAYEE);
	eip712_uint(&e, 0);
	keccak256(e.words, 32 * e.count, &witness);
	eip712_begin(&e, PERMIT_WITNESS TOKEN_PERMISSIONS WITNESS);
	eip712_hash(&e, &permitted);
	push_address(&e, PROXY);
	eip712_uint(&e, 12345678901234567890u);
	eip712_uint(&e, 1893456000);
	eip712_hash(&e, &witness);
	eip712_domain("Permit2", NULL, 84532, &permit2, &domain);
	eip712_digest(&e, &domain, &digest);
	assert_hash(&digest, "0x87f90ff7c1ed02f34f7becf86182d1b2b90a5d0f5f00c97cb24d75f583805019");
	assert_signed_by_payer(&digest, "0x02b341681557d1125623355e6024ab4e89639c2b99f4be5e3c1de394bdb3b440"
					"2cccb27ae2a78ef4b8660fb57a029bb8e081472ac157a93c132da7325dcfc70a1c");
}

static void every_kind_of_member(void **state)
{
	(void)state;
	struct eip712 e;
	struct hash domain, digest, h;
	struct address node;
	uint8_t job[16];
	for (int i = 0; i < 32; i++) {
		h.b[i] = (uint8_t)(100 + i);
		if (i < 16)
			job[i] = (uint8_t)i;
		if (i < 20)
			node.b[i] = (uint8_t)(1 + i);
	}
	eip712_domain("opgate", "1", 84532, NULL, &domain);
	eip712_begin(&e, "Probe(bytes16 jobId,uint32 attempt,address node,bytes32 digest,string policy,uint64 units)");
	eip712_bytes16(&e, job);
	eip712_uint(&e, 7);
	eip712_address(&e, &node);
	eip712_hash(&e, &h);
	eip712_string(&e, "signed");
	eip712_uint(&e, UINT64_MAX);
	eip712_digest(&e, &domain, &digest);
	assert_hash(&digest, "0xf2a9ed0fe684977464cd330ef6be4e4fc69068c459ad20d0959d17da41145d1c");
}

static void eip191(void **state)
{
	(void)state;
	struct hash h;
	eip191_digest("Hello World", 11, &h);
	assert_hash(&h, "0xa1de988600a42c4b4ab089b619297c17d53cffae5d5120d82d8a92d0bb3b78f2");
	eip191_digest("", 0, &h);
	assert_hash(&h, "0x5f35dce98ba4fba25530a026ed80b2cecdaa31091ba4958b99b52ea1d068adad");
}

static void overfill(void *arg)
{
	struct eip712 *e = arg;
	eip712_begin(e, "T()");
	for (int i = 0; i < 24; i++)
		eip712_uint(e, 1);
}

static void too_many_members_abort(void **state)
{
	(void)state;
	struct eip712 e;
	assert_true(unit_aborts(overfill, &e));
	eip712_begin(&e, "T()");
	for (int i = 0; i < 23; i++)
		eip712_uint(&e, 1);
	assert_int_equal(e.count, 24);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(domains),
		cmocka_unit_test(eip3009_transfer),
		cmocka_unit_test(eip2612_permit),
		cmocka_unit_test(nested_by_hand),
		cmocka_unit_test(every_kind_of_member),
		cmocka_unit_test(eip191),
		cmocka_unit_test(too_many_members_abort),
	};
	return RUN_TESTS(tests);
}
