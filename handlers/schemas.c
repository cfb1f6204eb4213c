/* See schemas.h. Requests refuse unknown members (base/json.h), so theirs say additionalProperties: false. */
#include "handlers/schemas.h"

#define REF(name) "{'$ref':'#/components/schemas/" name "'}"
#define STR "{'type':'string'}"
#define STR_NULL "{'type':['string','null']}"
#define INT "{'type':'integer'}"
#define BOOL "{'type':'boolean'}"
#define OR_UNKNOWN "{'type':['boolean','null'],'description':'null: the chain could not be asked'}"
#define ENUM(list) "{'type':'string','enum':[" list "]}"
#define CONST(value) "{'const':'" value "'}"
#define OR_NULL(schema) "{'anyOf':[" schema ",{'type':'null'}]}"
#define ARRAY(items) "{'type':'array','items':" items "}"
#define TEXT(min, max) "{'type':'string','minLength':" #min ",'maxLength':" #max "}"
#define RANGE(min, max) "{'type':'integer','minimum':" #min ",'maximum':" #max "}"
#define OBJECT(required, properties) "{'type':'object','required':[" required "],'properties':{" properties "}}"
#define INPUT(required, properties) "{'type':'object','additionalProperties':false,'required':[" required "],'properties':{" properties "}}"
#define LIST_OF(name, more_required, more) \
	OBJECT("'object','data','has_more'" more_required, "'object':" CONST("list") ",'data':" ARRAY(REF(name)) ",'has_more':" BOOL more)
#define CURRENCY "{'type':'string','enum':['OPG','USD'],'default':'OPG'}"
#define PRICE_AMOUNTS OBJECT("'currency','input','output'", "'currency':" CURRENCY ",'input':" REF("Amount") ",'output':" REF("Amount"))
#define SURFACE ENUM("'chat','tensor'")
#define SCHEDULE ENUM("'manual','daily','weekly'")
#define PAYOUT_STATE ENUM("'pending','sent','paid','returned'")
#define PAYOUT_SOURCE ENUM("'available','author','operator'")

#define MODEL_REQUIRED "'id','object','created','owned_by','title'"
#define MODEL_MEMBERS \
	"'id':" REF("ModelId") ",'object':" CONST("model") ",'created':{'type':'integer','description':'seconds since 1970'},'owned_by':" STR ",'title':" STR \
	",'surface':" SURFACE ",'version':" INT ",'digest':" REF("Digest") ",'price':" OR_NULL(REF("Price")) ",'royalty':" PRICE_AMOUNTS ",'max_output_tokens':" INT

#define VERSION_REQUIRED "'id','object','model','version','surface','price','max_output_tokens','state','digest','created_at','published_at'"
#define ERROR_MEMBERS "'code':" REF("ErrorCode") ",'request_id':" STR ",'retryable':" BOOL ",'charged':" BOOL

const struct schema SCHEMAS[] = {
	/* words */
	{ "Amount", "{'type':'string','pattern':'^(0|[1-9][0-9]*)$','description':'base units of OPG, which has 18 decimals'}" },
	{ "Address", "{'type':'string','pattern':'^0x[0-9a-fA-F]{40}$'}" },
	{ "Hash", "{'type':'string','pattern':'^0x[0-9a-f]{64}$'}" },
	{ "Digest", "{'type':'string','pattern':'^sha256:[0-9a-f]{64}$','description':'SHA-256 of the manifest of a published version'}" },
	{ "Time", "{'type':'string','format':'date-time'}" },
	{ "ModelId", "{'type':'string','description':'author/name; an author is a handle or an address. author/name@sha256:... or @number pins a version'}" },
	{ "Asset", OBJECT("'symbol','decimals'", "'symbol':" CONST("OPG") ",'decimals':{'const':18}") },
	{ "Price", OBJECT("'input','output'", "'input':" REF("Amount") ",'output':" REF("Amount") ",'asset':" CONST("OPG") ",'decimals':{'const':18}") },
	{ "ErrorCode", "{'type':'string'}" }, /* openapi.c fills in the error table */
	/* errors */
	{ "Problem", OBJECT("'type','title','status','detail','instance','code','request_id','retryable','charged','hint'",
		"'type':" STR ",'title':" STR ",'status':" INT ",'detail':" STR ",'instance':" STR ",'hint':" STR "," ERROR_MEMBERS) },
	{ "OpenAIErrorObject", OBJECT("'message','type','param','code'", "'message':" STR ",'type':" STR ",'param':" STR_NULL "," ERROR_MEMBERS) },
	{ "OpenAIError", OBJECT("'error'", "'error':" REF("OpenAIErrorObject")) },
	{ "OipError", OBJECT("'error','code','request_id','retryable','charged'", "'error':" STR "," ERROR_MEMBERS) },
	{ "ProblemWithError", "{'allOf':[" REF("Problem") "," REF("OpenAIError") "]}" },
	/* operations */
	{ "Health", OBJECT("'status'", "'status':" ENUM("'ok','unavailable'") ",'checks':" OBJECT("'database','reconciliation'", "'database':" BOOL ",'reconciliation':" BOOL)) },
	{ "Gateway", OBJECT("'address','chain_id','opg_token','treasury','base_url','deposit_confirmations','platform_fee_bps'", "'address':" REF("Address")
		",'chain_id':" INT ",'opg_token':" REF("Address") ",'treasury':" REF("Address") ",'base_url':" STR ",'deposit_confirmations':" INT ",'platform_fee_bps':" INT
		",'depositor':{'type':['string','null'],'description':'contract that deposits by signature; null: none'}") },
	/* accounts */
	{ "Nonce", OBJECT("'nonce','expires_at'", "'nonce':" STR ",'expires_at':" REF("Time")) },
	{ "SignIn", INPUT("'message','signature'", "'message':{'type':'string','minLength':1,'description':'EIP-4361 text with a nonce of ours'},'signature':" TEXT(1, 4098)) },
	{ "Token", OBJECT("'token','token_type','expires_at','account'", "'token':" STR ",'token_type':" CONST("Bearer") ",'expires_at':" REF("Time")
		",'account':" OBJECT("'address','handle'", "'address':" REF("Address") ",'handle':" STR_NULL)) },
	{ "Account", OBJECT("'address','handle','created_at','admin'", "'address':" REF("Address") ",'handle':" STR_NULL ",'created_at':" REF("Time") ",'admin':" BOOL) },
	{ "AccountPatch", INPUT("'handle'", "'handle':{'type':'string','pattern':'^[a-z0-9]([a-z0-9-]*[a-z0-9])?$','description':'chosen once'}") },
	{ "Scope", ENUM("'inference','registry','read'") },
	{ "Key", OBJECT("'id','name','prefix','scopes','created_at','expires_at','revoked_at'", "'id':" STR ",'name':" STR ",'prefix':" STR ",'scopes':"
		ARRAY(REF("Scope")) ",'created_at':" REF("Time") ",'expires_at':" OR_NULL(REF("Time")) ",'revoked_at':" OR_NULL(REF("Time"))) },
	{ "KeyList", LIST_OF("Key", "", "") },
	{ "KeyCreate", INPUT("'name'", "'name':" TEXT(1, 100) ",'scopes':{'type':'array','items':" REF("Scope") ",'minItems':1,'maxItems':3,'default':['inference','read']}"
		",'expires_at':" REF("Time") ",'expires_in':{'type':'integer','minimum':1,'maximum':315360000,'description':'seconds; instead of expires_at'}") },
	{ "KeyCreated", "{'allOf':[" REF("Key") "," OBJECT("'key'", "'key':{'type':'string','description':'the only time it is shown'}") "]}" },
	/* registry */
	{ "ModelSummary", OBJECT(MODEL_REQUIRED, MODEL_MEMBERS ",'offers':{'type':'integer','description':'nodes that serve it now'}") },
	{ "ModelList", LIST_OF("ModelSummary", ",'first_id','last_id'", ",'first_id':" STR_NULL ",'last_id':" STR_NULL) },
	{ "ModelOffer", OBJECT("'node','operator','ask','capacity','precision','profile_hash','version','digest'", "'node':" REF("Address") ",'operator':" REF("Address")
		",'ask':" PRICE_AMOUNTS ",'capacity':" INT ",'precision':" STR ",'profile_hash':" REF("Hash") ",'version':" INT ",'digest':" REF("Digest")) },
	{ "Model", OBJECT(MODEL_REQUIRED ",'description'", MODEL_MEMBERS ",'description':" STR ",'versions':" ARRAY(REF("Version")) ",'offers':" ARRAY(REF("ModelOffer"))) },
	{ "ModelCreate", INPUT("'name'", "'name':{'type':'string','pattern':'^[A-Za-z0-9][A-Za-z0-9._-]*$'},'title':" TEXT(0, 200) ",'description':" TEXT(0, 20000)) },
	{ "ModelPatch", INPUT("", "'title':" TEXT(0, 200) ",'description':" TEXT(0, 20000)) },
	{ "File", OBJECT("'path','size','sha256'", "'path':" STR ",'size':" INT ",'sha256':{'type':'string','pattern':'^[0-9a-f]{64}$'}") },
	{ "Version", OBJECT(VERSION_REQUIRED, "'id':" STR ",'object':" CONST("model.version") ",'model':" REF("ModelId") ",'version':" INT ",'surface':" SURFACE
		",'price':" PRICE_AMOUNTS ",'max_output_tokens':" INT ",'state':" ENUM("'draft','published'") ",'digest':" OR_NULL(REF("Digest"))
		",'created_at':" REF("Time") ",'published_at':" OR_NULL(REF("Time")) ",'files':" ARRAY(REF("File")) ",'manifest':" STR_NULL) },
	{ "VersionList", LIST_OF("Version", "", "") },
	{ "VersionCreate", INPUT("'surface','price'", "'surface':" SURFACE ",'price':" INPUT("'input'", "'currency':" CURRENCY ",'input':" REF("Amount") ",'output':" REF("Amount"))
		",'max_output_tokens':" RANGE(1, 1000000)) },
	/* nodes */
	{ "NodeOffer", OBJECT("'model','version','digest','surface','ask','capacity','precision','profile_hash','state'", "'model':" REF("ModelId") ",'version':" INT
		",'digest':" REF("Digest") ",'surface':" SURFACE ",'ask':" PRICE_AMOUNTS ",'capacity':" INT ",'precision':" STR ",'profile_hash':" REF("Hash")
		",'state':" ENUM("'ready','withdrawn'")) },
	{ "Node", OBJECT("'address','operator','url','state','alive','registered_at','heartbeat_at','offers'", "'address':" REF("Address") ",'operator':" REF("Address")
		",'url':" STR ",'state':" ENUM("'active','draining','banned'") ",'alive':" BOOL ",'registered_at':" REF("Time") ",'heartbeat_at':" OR_NULL(REF("Time"))
		",'offers':" ARRAY(REF("NodeOffer"))) },
	{ "NodeList", LIST_OF("Node", ",'first_id','last_id'", ",'first_id':" STR_NULL ",'last_id':" STR_NULL) },
	{ "NodeRegister", INPUT("'registration','operator_signature'",
		"'registration':{'type':'string','description':'NodeRegistration in its JSON form, signed by the node'}"
		",'operator_signature':{'type':'string','pattern':'^0x[0-9a-f]{130}$','description':'by the operator, over the same statement'}") },
	{ "Offers", INPUT("'offers'", "'offers':{'type':'array','maxItems':256,'items':" INPUT("'digest','ask','capacity','profile'",
		"'digest':" REF("Digest") ",'ask':" INPUT("'input','output'", "'currency':" CURRENCY ",'input':" REF("Amount") ",'output':" REF("Amount")) ",'capacity':" RANGE(1, 10000)
		",'precision':" TEXT(0, 32) ",'profile':{'type':'string','minLength':2,'maxLength':8192,'description':'the text of the execution profile, a JSON object'}") "}") },
	{ "Rate", OBJECT("'pair','rate','decimals','good','at','good_until'", "'pair':" CONST("OPG/USD") ",'rate':" OR_NULL(REF("Amount")) ",'decimals':{'const':18}"
		",'good':{'type':'boolean','description':'false: what is priced in USD is not sold now'},'at':" OR_NULL(REF("Time")) ",'good_until':" OR_NULL(REF("Time"))) },
	/* jobs */
	{ "QuoteCreate", INPUT("'model'", "'model':" REF("ModelId") ",'input_bytes':" RANGE(0, 16777216) ",'max_output_tokens':" RANGE(1, 2147483647)) },
	{ "Quote", OBJECT("'model','hold','input_units_max','output_units_max','candidates','asset'", "'model':" REF("ModelId") ",'hold':" REF("Amount")
		",'input_units_max':" INT ",'output_units_max':" INT ",'candidates':{'type':'integer','description':'nodes that could take it now'},'asset':" REF("Asset")) },
	{ "Split", OBJECT("'node','author','platform'", "'node':" REF("Amount") ",'author':" REF("Amount") ",'platform':" REF("Amount")) },
	{ "VerdictCheck", OBJECT("'name','result','detail'", "'name':" STR ",'result':" REF("VerdictValue") ",'detail':" STR) },
	{ "VerdictValue", ENUM("'passed','failed','unverifiable'") },
	{ "Tensor", "{'type':'object','required':['name','shape','datatype'],'properties':{'name':" STR ",'shape':" ARRAY(INT) ",'datatype':" STR
		",'data':{'type':'array'},'parameters':{'type':'object'}}}" },
	{ "Job", OBJECT("'id','object','state','model','digest','version','policy','background','attempt','outcome','error','node','operator','author','verdict','checks',"
		"'hold','charged','split','asset','usage','request','response','created_at','ended_at'",
		"'id':{'type':'string','format':'uuid'},'object':" CONST("job") ",'state':" ENUM("'queued','running','produced','settled','failed','expired','cancelled'")
		",'model':" REF("ModelId") ",'digest':" REF("Digest") ",'version':" INT ",'policy':" ENUM("'none','signed'") ",'background':" BOOL ",'attempt':" INT
		",'outcome':" STR_NULL ",'error':" STR_NULL ",'node':" OR_NULL(REF("Address")) ",'operator':" OR_NULL(REF("Address")) ",'author':" OR_NULL(REF("Address"))
		",'verdict':" OR_NULL(REF("VerdictValue")) ",'checks':" OR_NULL(ARRAY(REF("VerdictCheck"))) ",'hold':" REF("Amount") ",'charged':" OR_NULL(REF("Amount")) ",'split':" OR_NULL(REF("Split")) ",'asset':" REF("Asset")
		",'usage':" OR_NULL(OBJECT("'input_units','output_units'", "'input_units':" INT ",'output_units':" INT))
		",'request':" OBJECT("'method','path','content_type','hash'", "'method':" CONST("POST") ",'path':" STR ",'content_type':" STR ",'hash':" REF("Hash"))
		",'response':" OR_NULL(OBJECT("'status','content_type','hash'", "'status':" INT ",'content_type':" STR_NULL ",'hash':" OR_NULL(REF("Hash"))))
		",'created_at':" REF("Time") ",'ended_at':" OR_NULL(REF("Time"))) },
	{ "JobList", LIST_OF("Job", "", "") },
	/* proof */
	{ "SignedStatement", OBJECT("'domain','message','signature'", "'domain':" OBJECT("'name','version','chainId'", "'name':" CONST("opgate") ",'version':" CONST("1") ",'chainId':" STR)
		",'message':{'type':'object'},'signature':{'type':'string','pattern':'^0x[0-9a-f]{130}$'}") },
	{ "Verify", INPUT("'receipt'", "'receipt':{'type':'string','minLength':1,'maxLength':8192,'description':'its JSON form as text, or base64url of it'}"
		",'request':{'type':'string','description':'the body, as text'},'request_base64':{'type':'string','description':'or as base64url'}"
		",'response':" STR ",'response_base64':" STR ",'method':" STR ",'path':" STR ",'content_type':" STR ",'inference_header_length':" STR ""
		",'statement':{'type':'string','description':'a NodeStatement in its JSON form'}"
		",'node':" REF("Address") ",'gateway':" REF("Address") ",'model':" REF("Digest")) },
	{ "Verdict", OBJECT("'verdict','checks','receipt','signer'", "'verdict':" REF("VerdictValue") ",'checks':" ARRAY(REF("VerdictCheck"))
		",'receipt':" OR_NULL(REF("SignedStatement")) ",'signer':" OR_NULL(REF("Address"))) },
	{ "Settlement", OBJECT("'job','type','status','transaction','blob','root','size','created_at'", "'job':{'type':'string','format':'uuid'},'type':" ENUM("'batch','individual'")
		",'status':" ENUM("'queued','processing','succeeded','failed'") ",'transaction':" OR_NULL(REF("Hash")) ",'blob':" STR_NULL ",'root':" OR_NULL(REF("Hash")) ",'size':" OR_NULL(INT)
		",'created_at':" REF("Time")) },
	/* money */
	{ "Balance", OBJECT("'available','held','earned','asset'", "'available':" REF("Amount") ",'held':" REF("Amount") ",'earned':"
		OBJECT("'author','operator'", "'author':" REF("Amount") ",'operator':" REF("Amount")) ",'asset':" REF("Asset")) },
	{ "Transfer", OBJECT("'id','kind','job','at','entries'", "'id':" INT ",'kind':" STR ",'job':" STR_NULL ",'at':" REF("Time") ",'entries':"
		ARRAY(OBJECT("'account','amount'", "'account':{'type':'string','description':'which of the ledger accounts of the caller: available, held, author or operator'},'amount':"
			"{'type':'string','pattern':'^(0|-?[1-9][0-9]*)$'}"))) },
	{ "TransferList", LIST_OF("Transfer", ",'asset'", ",'asset':" REF("Asset")) },
	{ "Deposit", OBJECT("'id','tx','ordinal','sender','amount','block','state','reason','shortfall','reversals','seen_at','credited_at','claimed_at'", "'id':" INT ",'tx':"
		REF("Hash") ",'ordinal':" INT ",'sender':" REF("Address") ",'amount':" REF("Amount") ",'block':" INT ",'state':" ENUM("'seen','credited','held','vanished','reversed'")
		",'reason':" STR_NULL ",'shortfall':" REF("Amount") ",'reversals':" INT ",'seen_at':" REF("Time") ",'credited_at':" OR_NULL(REF("Time"))
		",'claimed_at':" OR_NULL(REF("Time"))) },
	{ "DepositCreate", INPUT("'method','amount','deadline','signature'", "'method':" ENUM("'permit2','permit'") ",'amount':" REF("Amount")
		",'nonce':{'type':'string','pattern':'^(0|[1-9][0-9]*)$','description':'permit2 only: of the signature'},'deadline':{'type':'integer','description':'seconds since 1970'}"
		",'signature':{'type':'string','maxLength':4098}") },
	{ "SponsoredDeposit", OBJECT("'id','method','amount','state','transaction','reason','created_at'", "'id':" STR ",'method':" ENUM("'permit2','permit'") ",'amount':" REF("Amount")
		",'state':" ENUM("'queued','sent','done','failed'") ",'transaction':" OR_NULL(REF("Hash")) ",'reason':" STR_NULL ",'created_at':" REF("Time")) },
	{ "DepositClaim", INPUT("'account','signature'", "'account':" REF("Address") ",'signature':{'type':'string','maxLength':4098,'description':'of the EIP-712 statement DepositClaim by the sender, or by the contract that sent (ERC-1271)'}") },
	{ "DepositClaimed", OBJECT("'id','account','state'", "'id':" INT ",'account':" REF("Address") ",'state':" CONST("credited")) },
	{ "Payment", OBJECT("'id','state','amount_max','amount','transaction','reason','asset'", "'id':{'type':'string','format':'uuid'},'state':{'enum':['claimed','settling','settled','failed','dropped','lost','credited']},'amount_max':" REF("Amount") ",'amount':{},'transaction':{},'reason':{},'asset':" REF("Asset")) },
	{ "FacilitatorRequest", OBJECT("'paymentPayload','paymentRequirements'", "'x402Version':{'enum':[1,2]},'paymentPayload':{'type':'object'},'paymentRequirements':{'type':'object'}") },
	{ "FacilitatorSupported", OBJECT("'kinds','extensions','signers'", "'kinds':" ARRAY(OBJECT("'x402Version','scheme','network'", "'x402Version':" INT ",'scheme':" STR ",'network':" STR
		",'extra':{'type':'object'}")) ",'extensions':" ARRAY(STR) ",'signers':{'type':'object'}") },
	{ "FacilitatorVerified", OBJECT("'isValid'", "'isValid':" BOOL ",'invalidReason':" STR ",'invalidMessage':" STR ",'payer':" REF("Address")) },
	{ "FacilitatorReceipt", OBJECT("'success','transaction','network'", "'success':" BOOL ",'errorReason':" STR ",'errorMessage':" STR ",'payer':" REF("Address")
		",'transaction':" STR ",'network':" STR ",'amount':" REF("Amount")) },
	{ "FacilitatorSettled", "{'allOf':[" REF("FacilitatorReceipt") "," OBJECT("", "'paymentJob':" REF("SettlementJob")) "]}" },
	{ "SettlementJob", OBJECT("'jobId','queue','status','createdAt','updatedAt','result'", "'jobId':" STR ",'queue':" STR ",'status':" ENUM("'queued','processing','succeeded','failed'")
		",'createdAt':" REF("Time") ",'updatedAt':" REF("Time") ",'result':{'type':['object','null']},'settlementType':" ENUM("'batch','individual'") ",'txHash':" REF("Hash")) },
	{ "DataSettled", OBJECT("'settlementJob'", "'settlementJob':" OR_NULL(REF("SettlementJob")) ",'notes':" STR) },
	{ "Payee", OBJECT("'address'", "'address':" REF("Address") ",'registered_at':" REF("Time") ",'gas_today':" REF("Amount")) },
	{ "PayeeList", LIST_OF("Payee", ",'gas_payee_max'", ",'gas_payee_max':" REF("Amount")) },
	{ "PayeeCreate", INPUT("", "'address':" REF("Address") ",'consent':{'type':'string','description':'PayeeConsent in its JSON form, signed by the address; not needed for the own one'}") },
	{ "DepositList", LIST_OF("Deposit", ",'asset'", ",'asset':" REF("Asset")) },
	{ "Mismatch", OBJECT("'id','check','subject','block','detail','state','first_seen_at','last_seen_at','healed_at','resolved_at','note'", "'id':" INT ",'check':" STR
		",'subject':" STR ",'block':{'type':['integer','null']},'detail':" STR ",'state':" ENUM("'open','resolved','healed'") ",'first_seen_at':" REF("Time")
		",'last_seen_at':" REF("Time") ",'healed_at':" OR_NULL(REF("Time")) ",'resolved_at':" OR_NULL(REF("Time")) ",'note':" STR_NULL) },
	{ "Resolve", INPUT("'note'", "'note':" TEXT(1, 1000)) },
	{ "Resolved", OBJECT("'id','state','note'", "'id':" INT ",'state':" CONST("resolved") ",'note':" STR) },
	{ "Reconciliation", OBJECT("'ok','ledger_sum','balances_ok','holds_ok','captures_ok','custody_ok','payouts_ok','custody','in_flight','deposits','endpoints','compared_block','gas','settlements_stopped','mismatches','checked_at'",
		"'ok':" BOOL ",'ledger_sum':" STR ",'balances_ok':" BOOL ",'holds_ok':" BOOL ",'captures_ok':" BOOL ",'custody_ok':" OR_UNKNOWN ",'payouts_ok':" OR_UNKNOWN
		",'custody':" OBJECT("'on_chain','ledger','unsettled','leaving','liabilities','difference','ok'", "'on_chain':" OR_NULL(REF("Amount")) ",'ledger':" REF("Amount")
			",'unsettled':" REF("Amount") ",'leaving':" OR_NULL(REF("Amount")) ",'liabilities':" REF("Amount") ",'difference':" STR_NULL ",'ok':" OR_UNKNOWN)
		",'in_flight':" OBJECT("'transactions_signed','transactions_mined','payments','amount','unproven'", "'transactions_signed':" INT ",'transactions_mined':" INT ",'payments':" INT
			",'amount':" REF("Amount") ",'unproven':" REF("Amount"))
		",'deposits':" OBJECT("'unconfirmed','held','held_amount','reversed','reversal_loss'", "'unconfirmed':" REF("Amount") ",'held':" INT ",'held_amount':" REF("Amount")
			",'reversed':" INT ",'reversal_loss':" REF("Amount"))
		",'endpoints':" OBJECT("'count','state','block'", "'count':" INT ",'state':" ENUM("'agree','behind','down','disagree'") ",'block':{'type':['integer','null']}")
		",'compared_block':{'type':'integer','description':'newest block whose logs were compared with the books'}"
		",'gas':" OR_NULL(OBJECT("'address','balance'", "'address':" REF("Address") ",'balance':{'type':'string','description':'wei of the coin of the chain'}"))
		",'settlements_stopped':" BOOL ",'mismatches':" ARRAY(REF("Mismatch")) ",'checked_at':" REF("Time")) },
	/* payouts */
	{ "Earned", OBJECT("'earned','in_flight','paid','available'", "'earned':" REF("Amount") ",'in_flight':" REF("Amount") ",'paid':" REF("Amount") ",'available':" REF("Amount")) },
	{ "Earnings", OBJECT("'author','operator','asset'", "'author':" REF("Earned") ",'operator':" REF("Earned") ",'asset':" REF("Asset")) },
	{ "StatementLine", OBJECT("'id','at','job','role','model','amount','payout','payout_state','transaction'", "'id':" STR ",'at':" REF("Time") ",'job':{'type':'string','format':'uuid'},'role':"
		ENUM("'author','operator'") ",'model':" REF("ModelId") ",'amount':" REF("Amount") ",'payout':" STR_NULL ",'payout_state':" OR_NULL(PAYOUT_STATE) ",'transaction':" OR_NULL(REF("Hash"))) },
	{ "Statement", LIST_OF("StatementLine", ",'asset'", ",'asset':" REF("Asset")) },
	{ "PayoutAddress", OBJECT("'address','valid','valid_at'", "'address':" REF("Address") ",'valid':" BOOL ",'valid_at':" REF("Time")) },
	{ "PayoutSettings", OBJECT("'address','schedule','minimum','minimum_of_platform','next_at','addresses','address_delay_ms','asset'", "'address':" REF("Address") ",'schedule':" SCHEDULE
		",'minimum':" REF("Amount") ",'minimum_of_platform':" REF("Amount") ",'next_at':" OR_NULL(REF("Time")) ",'addresses':" ARRAY(REF("PayoutAddress")) ",'address_delay_ms':" INT ",'asset':" REF("Asset")) },
	{ "PayoutSettingsPut", INPUT("'schedule'", "'schedule':" SCHEDULE ",'minimum':" REF("Amount") ",'address':" REF("Address")
		",'statement':{'type':'string','description':'for an address that is not on the list: PayoutAddress in its JSON form, signed by the account'}") },
	{ "AuthorShare", OBJECT("'address','bps'", "'address':" REF("Address") ",'bps':" RANGE(0, 10000)) },
	{ "Authors", OBJECT("'model','authors'", "'model':" REF("ModelId") ",'authors':" ARRAY(REF("AuthorShare"))) },
	{ "AuthorsPut", INPUT("'authors'", "'authors':{'type':'array','minItems':1,'maxItems':9,'description':'bps add up to 10000; the owner has what rounding leaves','items':"
		INPUT("'address','bps'", "'address':" REF("Address") ",'bps':" RANGE(1, 10000)) "}") },
	{ "Withdrawal", OBJECT("'id','object','source','address','amount','state','waits_for','asked_by','reason','transaction','asked_at','ended_at','asset'",
		"'id':{'type':'string','format':'uuid'},'object':" CONST("withdrawal") ",'source':" PAYOUT_SOURCE ",'address':" REF("Address") ",'amount':" REF("Amount") ",'state':" PAYOUT_STATE
		",'waits_for':" OR_NULL(ENUM("'funds'")) ",'asked_by':" ENUM("'account','schedule'") ",'reason':" STR_NULL ",'transaction':" OR_NULL(REF("Hash")) ",'asked_at':" REF("Time")
		",'ended_at':" OR_NULL(REF("Time")) ",'asset':" REF("Asset")) },
	{ "WithdrawalList", LIST_OF("Withdrawal", "", "") },
	{ "WithdrawalCreate", INPUT("'source'", "'source':" PAYOUT_SOURCE ",'amount':" REF("Amount") ",'address':" REF("Address")) },
	/* discovery */
	{ "DiscoveryResource", OBJECT("'resource','type','x402Version','accepts','lastUpdated','description','mimeType','extensions'", "'resource':" STR ",'type':" CONST("http")
		",'x402Version':" INT ",'accepts':" ARRAY("{'type':'object','description':'PaymentRequirements of x402, for the example in extensions.bazaar'}") ",'lastUpdated':" REF("Time")
		",'description':" STR ",'mimeType':" STR ",'tags':" ARRAY(STR) ",'extensions':{'type':'object'}") },
	{ "DiscoveryResources", OBJECT("'x402Version','items','pagination'", "'x402Version':" INT ",'items':" ARRAY(REF("DiscoveryResource"))
		",'pagination':" OBJECT("'limit','offset','total'", "'limit':" INT ",'offset':" INT ",'total':" INT)) },
};
const size_t SCHEMAS_COUNT = sizeof(SCHEMAS) / sizeof(SCHEMAS[0]);

#define ANY_OBJECT "{'type':'object'}"
#define CHAT_EXTENSION "'opgate':" INPUT("", "'policy':" ENUM("'none','signed'") ",'max_price':" REF("Amount"))
#define CHAT_REQUEST(what, schema) "{'type':'object','required':['model','" what "'],'properties':{'" what "':" schema ",'model':" REF("ModelId") ",'stream':" BOOL \
	",'max_tokens':{'type':'integer','minimum':1}," CHAT_EXTENSION "}}"
#define TENSORS OBJECT("'inputs'", "'id':" STR ",'inputs':" ARRAY(REF("Tensor")))
#define TENSOR_ANSWER OBJECT("'outputs'", "'outputs':" ARRAY(REF("Tensor")))
#define JSON_TYPE "application/json"

const struct route_detail ROUTE_DETAILS[] = {
	{ .route = "metrics", .response_type = "text/plain", .response_schema = STR },
	{ .route = "openapi", .response_type = JSON_TYPE, .response_schema = ANY_OBJECT },
	{ .route = "deposits_create", .status = 202 },
	{ .route = "keys_create", .status = 201 },
	{ .route = "keys_revoke", .status = 204 },
	{ .route = "models_create", .status = 201 },
	{ .route = "versions_create", .status = 201 },
	{ .route = "files_put", .status = 201, .request_type = "application/octet-stream" },
	{ .route = "files_get", .response_type = "application/octet-stream" },
	{ .route = "nodes_register", .status = 201 },
	{ .route = "nodes_receipt", .status = 204, .request_type = JSON_TYPE, .request_schema = REF("SignedStatement") },
	{ .route = "nodes_statement", .response_type = JSON_TYPE, .response_schema = REF("SignedStatement") },
	{ .route = "profiles_get", .response_type = JSON_TYPE, .response_schema = ANY_OBJECT },
	{ .route = "jobs_create", .request_type = "*/*", .also_status = 202 },
	{ .route = "jobs_get", .also_status = 202 },
	{ .route = "jobs_cancel", .also_status = 202 },
	{ .route = "links_get", .also_status = 202 },
	{ .route = "links_output", .response_type = "*/*" },
	{ .route = "links_receipt", .response_type = JSON_TYPE, .response_schema = REF("SignedStatement") },
	{ .route = "jobs_output", .response_type = "*/*" },
	{ .route = "jobs_receipt", .response_type = JSON_TYPE, .response_schema = REF("SignedStatement") },
	{ .route = "chat_completions", .request_type = JSON_TYPE, .request_schema = CHAT_REQUEST("messages", ARRAY(ANY_OBJECT)), .response_type = JSON_TYPE, .response_schema = ANY_OBJECT,
	  .response_also_type = "text/event-stream" },
	{ .route = "completions", .request_type = JSON_TYPE, .request_schema = CHAT_REQUEST("prompt", "{'type':['string','array']}"), .response_type = JSON_TYPE, .response_schema = ANY_OBJECT,
	  .response_also_type = "text/event-stream" },
	{ .route = "oip_infer", .request_type = JSON_TYPE, .request_schema = TENSORS, .response_type = JSON_TYPE, .response_schema = TENSOR_ANSWER,
	  .response_also_type = "application/octet-stream" },
	{ .route = "oip_infer_version", .request_type = JSON_TYPE, .request_schema = TENSORS, .response_type = JSON_TYPE, .response_schema = TENSOR_ANSWER,
	  .response_also_type = "application/octet-stream" },
	{ .route = "blobs_get", .response_type = JSON_TYPE, .response_schema = ANY_OBJECT },
	{ .route = "oip_live", .response_type = JSON_TYPE, .response_schema = OBJECT("'live'", "'live':" BOOL) },
	{ .route = "oip_ready", .response_type = JSON_TYPE, .response_schema = OBJECT("'ready'", "'ready':" BOOL) },
	{ .route = "oip_server", .response_type = JSON_TYPE, .response_schema = OBJECT("'name','version','extensions'", "'name':" STR ",'version':" STR ",'extensions':" ARRAY(STR)) },
	{ .route = "oip_model", .response_type = JSON_TYPE, .response_schema = OBJECT("'name','versions','platform','inputs','outputs'", "'name':" STR ",'versions':" ARRAY(STR)
		",'platform':" STR ",'inputs':" ARRAY(ANY_OBJECT) ",'outputs':" ARRAY(ANY_OBJECT)) },
	{ .route = "oip_model_ready", .response_type = JSON_TYPE, .response_schema = OBJECT("'name','ready'", "'name':" STR ",'ready':" BOOL) },
	{ .route = "facilitator_settle", .also_status = 202 },
	{ .route = "facilitator_settle_data", .status = 202, .request_type = JSON_TYPE, .request_schema = ANY_OBJECT },
	{ .route = "payees_create", .status = 201 },
	{ .route = "payees_delete", .status = 204 },
	{ .route = "payouts_address_cancel", .status = 204 },
	{ .route = "withdrawals_create", .status = 201 },
	{ .route = "statements_get", .response_also_type = "text/csv" },
	{ .route = "gateway_info", .response_type = JSON_TYPE, .response_schema = REF("Gateway") },
	{ .route = "page_index", .response_type = "text/html", .response_schema = STR },
	{ .route = "page_operator", .response_type = "text/html", .response_schema = STR },
	{ .route = "page_asset", .response_type = "*/*" },
};
const size_t ROUTE_DETAILS_COUNT = sizeof(ROUTE_DETAILS) / sizeof(ROUTE_DETAILS[0]);

#define PAID "jobs_create chat_completions completions oip_infer oip_infer_version"

const struct route_parameter ROUTE_PARAMETERS[] = {
	{ "", "path", "author", STR, "handle or address of the author" },
	{ "", "path", "name", STR, "name of the model" },
	{ "", "path", "model", STR, "author/name, as two segments or as one with %2F; author/name@sha256:... pins a version" },
	{ "", "path", "version", STR, "number, main (the newest published) or sha256:..." },
	{ "", "path", "revision", STR, "main (the newest published), a number or sha256:..." },
	{ "", "path", "path", STR, "path of the file; its slashes are slashes of the URL" },
	{ "", "path", "address", REF("Address"), "of a node: address of its signing key; of a payee: where the money goes" },
	{ "", "path", "digest", REF("Digest"), "digest of a published version" },
	{ "", "path", "hash", REF("Hash"), "SHA-256 of the document" },
	{ "", "path", "id", STR, "id as it was given" },
	{ "", "path", "job", STR, "jobId as it was given" },
	{ "facilitator_settle", "header", "Idempotency-Key", TEXT(1, 255), "names the sale: the same call with the same key gets the same result again" },
	{ "facilitator_settle_data", "header", "x-settlement-type", ENUM("'private','batch','individual'"), "what is put on chain" },
	{ "facilitator_settle_data", "header", "x-settlement-data", STR, "base64 of the statement as JSON" },
	{ "", "path", "file", STR, "name of the file" },
	{ "", "path", "link", STR, "as it stood in Location" },
	{ "", "path", "blob", STR, "SHA-256 of the document, in base64url" },
	{ "models_list", "query", "limit", "{'type':'integer','minimum':1,'maximum':1000,'default':1000}", "at most so many" },
	{ "keys_list versions_list transfers_list deposits_list deposits_held withdrawals_list", "query", "limit", "{'type':'integer','minimum':1,'maximum':200,'default':50}", "at most so many" },
	{ "nodes_list", "query", "limit", "{'type':'integer','minimum':1,'maximum':100,'default':50}", "at most so many" },
	{ "discovery facilitator_discovery", "query", "limit", "{'type':'integer','minimum':1,'maximum':100,'default':20}", "at most so many" },
	{ "discovery facilitator_discovery", "query", "offset", "{'type':'integer','minimum':0,'default':0}", "leave out so many" },
	{ "discovery facilitator_discovery", "query", "type", STR, "only of this kind: http is what there is" },
	{ "discovery facilitator_discovery", "query", "payTo", REF("Address"), "only what is paid to this address" },
	{ "discovery facilitator_discovery", "query", "scheme", STR, "only what can be paid by this scheme" },
	{ "discovery facilitator_discovery", "query", "network", STR, "only what can be paid on this network" },
	{ "discovery facilitator_discovery", "query", "extensions", STR, "only what declares this extension" },
	{ "jobs_list", "query", "limit", "{'type':'integer','minimum':1,'maximum':100,'default':20}", "at most so many" },
	{ "deposits_held", "query", "sender", REF("Address"), "only of this sender" },
	{ "models_list keys_list versions_list nodes_list jobs_list transfers_list deposits_list deposits_held withdrawals_list statements_get", "query", "after", STR, "go on after this one, the last of the page before" },
	{ "models_list", "query", "author", STR, "only of this author" },
	{ "models_list", "query", "surface", SURFACE, "only such models" },
	{ "jobs_create", "query", "model", REF("ModelId"), "which model; needed here, for the body is for the node alone" },
	{ PAID, "query", "policy", ENUM("'none','signed'"), "what must be proven; signed when absent. Also as header Opgate-Policy" },
	{ PAID, "query", "max_price", REF("Amount"), "refuse when it might cost more. Also as header Opgate-Max-Price" },
	{ PAID, "header", "Idempotency-Key", TEXT(1, 255), "a repeated request with the same key is answered, not paid, again" },
	{ "oip_infer oip_infer_version jobs_create", "header", "Inference-Header-Content-Length", INT, "bytes of the JSON part before binary tensor data" },
	{ PAID, "header", "X-SETTLEMENT-TYPE", STR, "private, batch or individual: what of the answered call goes on chain; OpenGradient's other spellings are known" },
	{ "jobs_create jobs_get links_get", "header", "Prefer", STR, "wait=N: answer when the job has ended, or after N seconds" },
	{ "withdrawals_create", "header", "Idempotency-Key", TEXT(1, 255), "a repeated request with the same key is answered again, and pays once" },
	{ "statements_get", "query", "limit", "{'type':'integer','minimum':1,'maximum':10000,'default':1000}", "at most so many" },
	{ "statements_get", "query", "from", STR, "from this day or RFC 3339 time on" },
	{ "statements_get", "query", "to", STR, "before this day or time" },
	{ "statements_get", "query", "format", ENUM("'json','csv'"), "csv also by Accept: text/csv; Opgate-Next then says that there is more, and after= which line" },
	{ "files_put", "header", "X-Content-SHA256", STR, "the upload is refused unless it has this digest" },
};
const size_t ROUTE_PARAMETERS_COUNT = sizeof(ROUTE_PARAMETERS) / sizeof(ROUTE_PARAMETERS[0]);
