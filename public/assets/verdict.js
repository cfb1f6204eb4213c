// The finding about a receipt, made here in the browser: three-valued, one line per check, by the rules of
// server/proof/verdict.c. What is not given is not checked; what `passed` needs and is not given makes it `unverifiable`.
import { sha256 } from './bytes.js';
import { FormError, NODE_STATEMENT, RECEIPT, requestHash, statementRead, statementSigner } from './statements.js';
import { streamMatch } from './stream.js';

const CLOCK_SLACK_MS = 2n * 60n * 1000n;
const OUR_PATHS = ['/v1/jobs', '/v1/chat/completions', '/v1/completions', '/v1/embeddings'];
// A hash cannot match by accident, so trying what clients usually send costs nothing but time.
const USUAL_TYPES = ['application/json', 'application/json; charset=utf-8', 'application/json;charset=utf-8', 'application/octet-stream', ''];

const passed = (detail) => ({ result: 'passed', detail });
const failed = (detail) => ({ result: 'failed', detail });
const unverifiable = (detail) => ({ result: 'unverifiable', detail });

// What the gateway's statement says about the signer; `profile` is the execution profile it names.
function judgeStatement(input, receipt, signer) {
  let statement;
  try {
    statement = statementRead(NODE_STATEMENT, input.statement);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    return failed('the registration statement is not in its canonical form');
  }
  const { message } = statement;
  if (statementSigner(NODE_STATEMENT, statement) !== message.gateway) return failed('the registration statement is not signed by the gateway it names');
  if (statement.chainId !== receipt.chainId) return failed('the registration statement is for another chain');
  if (message.node !== signer) return failed('the registration statement is about another node');
  if (message.modelDigest !== receipt.message.modelDigest) return failed('the registration statement is for another model version');
  if (!input.gateway) return unverifiable('the registration statement counts only with the gateway’s address, from a source you trust');
  if (message.gateway !== input.gateway) return failed('the registration statement is by another gateway than the pinned one');
  if (message.registeredAt > receipt.message.finishedAt + CLOCK_SLACK_MS)
    return unverifiable('the node registered after this receipt; the statement says nothing about the time before');
  return { ...passed('the pinned gateway states that this node serves this model version'), profile: message.profileHash };
}

function judgeRegistration(input, receipt, signer) {
  let finding = unverifiable('nothing says that this key is a registered node: pin the node, or give the gateway’s statement and pin the gateway');
  if (input.node) finding = input.node === signer ? passed('the pinned node signed') : failed('another key than the pinned node’s signed');
  if (input.statement) {
    const said = judgeStatement(input, receipt, signer);
    // A contradiction always shows; otherwise the better knowledge counts.
    if (said.result === 'failed' || (said.result === 'passed' && finding.result !== 'failed') || !input.node) return said;
    return { ...finding, profile: said.profile };
  }
  return finding;
}

async function judgeRequest({ body, method, path, contentType, headerLength }, want) {
  for (const tried of path ? [path] : OUR_PATHS)
    for (const type of contentType ? [...USUAL_TYPES, contentType] : USUAL_TYPES)
      if (await requestHash({ method: method || 'POST', path: tried, contentType: type, headerLength, body }) === want)
        return passed(`these bytes were asked at ${tried}`);
  return failed(path ? 'not the request of this receipt (at this path, with this content type)'
    : 'not the request of this receipt at any /v1 route; if it went to the model’s /v2 path, give the path');
}

async function judgeResponse(body, want, receiptBytes) {
  if (await sha256(body) === want) return passed('these bytes were answered');
  return {
    same: passed('these events were answered'),
    stray: failed('the events are the answered ones, but the stream holds bytes that are no part of the answer'),
    'other receipt': failed('the events are the answered ones, but the stream carries another receipt'),
    other: failed('not the response of this receipt'),
  }[await streamMatch(body, want, receiptBytes)];
}

function judgeTimes({ startedAt, finishedAt }, now) {
  if (finishedAt < startedAt) return failed('it ends before it starts');
  if (now && finishedAt > BigInt(now) + CLOCK_SLACK_MS) return failed('it ends in the future');
  return passed(`${finishedAt - startedAt} ms`);
}

const judgePolicy = (policy) => (['none', 'signed'].includes(policy) ? passed(policy)
  : unverifiable(`the evidence that policy ${policy} needs is not in a receipt`));

function judgeStatus(status) {
  if (status < 100n || status > 599n) return failed(`${status} is no HTTP status`);
  return passed(status === 499n ? '499, a partial answer: the caller left' : String(status));
}

function conclude(checks) {
  const has = (name) => checks.some((check) => check.name === name);
  if (checks.some((check) => check.result === 'failed')) return 'failed';
  const enough = has('form') && has('signature') && has('registration') && checks.every((check) => check.result === 'passed');
  return enough ? 'passed' : 'unverifiable';
}

// input: {receipt: bytes, node?, gateway?, statement?: bytes, chainId?: BigInt, model?: '0x…', request?: {body, method, path,
// contentType, headerLength}, response?: bytes, now?: ms}; addresses and hashes in lower case.
// Returns {verdict, checks: [{name, result, detail}], receipt, signer}.
export async function verdictCheck(input) {
  const checks = [];
  const add = (name, { result, detail }) => checks.push({ name, result, detail });
  let receipt;
  try {
    receipt = statementRead(RECEIPT, input.receipt);
  } catch (error) {
    if (!(error instanceof FormError)) throw error;
    add('form', failed(`not a receipt in its canonical form: ${error.message}`));
    return { verdict: 'failed', checks, receipt: null, signer: null };
  }
  const { message, chainId } = receipt;
  add('form', passed('canonical'));
  const signer = statementSigner(RECEIPT, receipt);
  add('signature', signer ? passed(`signed by ${signer}`) : failed('no key could have made this signature'));
  if (signer) {
    add('signer', signer === message.node ? passed('the node named in the receipt') : failed(`the receipt names ${message.node}, another key signed it`));
    const { profile, ...registration } = judgeRegistration(input, receipt, signer);
    add('registration', registration);
    if (profile && profile !== message.profileHash)
      add('profile', unverifiable('the registration statement is for another execution profile of this node'));
  }
  if (input.chainId) add('chain', input.chainId === chainId ? passed(String(chainId)) : failed(`made for chain ${chainId}`));
  if (input.gateway)
    add('gateway', input.gateway === message.gateway ? passed('made for the pinned gateway') : failed(`made for gateway ${message.gateway}`));
  if (input.model)
    add('model', input.model === message.modelDigest ? passed(message.modelDigest) : failed(`the receipt names another model version: ${message.modelDigest}`));
  if (input.request) add('request', await judgeRequest(input.request, message.requestHash));
  if (input.response) add('response', await judgeResponse(input.response, message.responseHash, input.receipt));
  add('times', judgeTimes(message, input.now));
  add('policy', judgePolicy(message.policy));
  add('status', judgeStatus(message.status));
  return { verdict: conclude(checks), checks, receipt, signer };
}
