// A MetaTrader terminal in memory, as far as the Expert Advisor uses one: its text compiles against this as C++.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <deque>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

typedef std::string string;
typedef unsigned int uint;
typedef unsigned long ulong;
typedef unsigned short ushort;

inline string S(const char *text) { return string(text); }

template <class T> struct Dynamic : std::vector<T> {};
template <class T> int ArraySize(const std::vector<T> &a) { return (int)a.size(); }
template <class T, size_t N> int ArraySize(const T (&)[N]) { return (int)N; }
template <class T> int ArrayResize(std::vector<T> &a, int n) { a.resize(n); return n; }
template <class T> void ArrayFree(std::vector<T> &a) { a.clear(); }
template <class T> bool ArraySetAsSeries(std::vector<T> &, bool series) { return !series; }
template <class T, size_t N> void ArrayInitialize(T (&a)[N], double value) { std::fill(a, a + N, (T)value); }
template <class T> void ZeroMemory(T &value) { value = T(); }

template <class T> T MathMax(T a, T b) { return a > b ? a : b; }
template <class T> T MathMin(T a, T b) { return a < b ? a : b; }
inline double NormalizeDouble(double value, int digits) {
   double scale = std::pow(10.0, digits);
   return std::round(value * scale) / scale;
}

// Text
inline const char *argument(const string &text) { return text.c_str(); }
template <class T> T argument(T value) { return value; }
template <class... A> string StringFormat(const string &format, const A &...values) {
   char buffer[2048];
   std::snprintf(buffer, sizeof buffer, format.c_str(), argument(values)...);
   return buffer;
}
inline string IntegerToString(long value) { return std::to_string(value); }
inline string DoubleToString(double value, int digits = 8) { return StringFormat("%.*f", digits, value); }
inline int StringFind(const string &text, const string &part) {
   size_t at = text.find(part);
   return at == string::npos ? -1 : (int)at;
}
inline string StringSubstr(const string &text, int from, int count = -1) {
   return text.substr(from, count < 0 ? string::npos : (size_t)count);
}
inline ushort StringGetCharacter(const string &text, int at) { return (ushort)text[at]; }
inline int StringSplit(const string &text, ushort mark, std::vector<string> &parts) {
   parts.clear();
   if(text.empty())
      return 0;
   size_t begin = 0;
   for(size_t at; (at = text.find((char)mark, begin)) != string::npos; begin = at + 1)
      parts.push_back(text.substr(begin, at - begin));
   parts.push_back(text.substr(begin));
   return (int)parts.size();
}
inline void StringTrimLeft(string &text) { text.erase(0, std::min(text.size(), text.find_first_not_of(' '))); }
inline void StringTrimRight(string &text) { text.erase(text.find_last_not_of(' ') + 1); }
inline int StringReplace(string &text, const string &from, const string &to) {
   int count = 0;
   for(size_t at = 0; (at = text.find(from, at)) != string::npos; at += to.size(), count++)
      text.replace(at, from.size(), to);
   return count;
}

// Constants, whose values only have to differ where MetaTrader's do
enum { INIT_SUCCEEDED, INIT_FAILED, INIT_PARAMETERS_INCORRECT, INVALID_HANDLE = -1 };
enum { FILE_READ = 1, FILE_WRITE = 2, FILE_BIN = 4, FILE_TXT = 16, FILE_ANSI = 32, FILE_SHARE_READ = 128, FILE_REWRITE = 512 };
enum { TIME_DATE = 1, TIME_MINUTES = 2 };
enum { ONNX_USE_CPU_ONLY = 1, ONNX_NO_CONVERSION = 2 };
enum { ACCOUNT_CURRENCY, ACCOUNT_EQUITY, ACCOUNT_LOGIN, ACCOUNT_MARGIN_MODE, ACCOUNT_TRADE_ALLOWED, ACCOUNT_TRADE_EXPERT, ACCOUNT_TRADE_MODE };
enum { ACCOUNT_TRADE_MODE_DEMO, ACCOUNT_TRADE_MODE_CONTEST, ACCOUNT_TRADE_MODE_REAL };
enum { ACCOUNT_MARGIN_MODE_RETAIL_NETTING, ACCOUNT_MARGIN_MODE_EXCHANGE, ACCOUNT_MARGIN_MODE_RETAIL_HEDGING };
enum { TERMINAL_CONNECTED, TERMINAL_TRADE_ALLOWED, MQL_TRADE_ALLOWED, MQL_TESTER };
enum { DEAL_COMMISSION, DEAL_FEE, DEAL_MAGIC, DEAL_ORDER, DEAL_POSITION_ID, DEAL_PRICE, DEAL_PROFIT, DEAL_SWAP, DEAL_SYMBOL, DEAL_TYPE, DEAL_VOLUME };
enum { DEAL_TYPE_BUY, DEAL_TYPE_SELL, DEAL_TYPE_BALANCE };
enum ENUM_ORDER_TYPE { ORDER_TYPE_BUY, ORDER_TYPE_SELL };
enum ENUM_ORDER_TYPE_FILLING { ORDER_FILLING_FOK, ORDER_FILLING_IOC, ORDER_FILLING_RETURN };
enum ENUM_TRADE_REQUEST_ACTIONS { TRADE_ACTION_DEAL = 1 };
enum ENUM_DAY_OF_WEEK { SUNDAY, MONDAY, TUESDAY, WEDNESDAY, THURSDAY, FRIDAY, SATURDAY };
enum ENUM_TIMEFRAMES { PERIOD_M1 = 60, PERIOD_M5 = 300, PERIOD_M15 = 900, PERIOD_M30 = 1800, PERIOD_H1 = 3600, PERIOD_H4 = 14400, PERIOD_D1 = 86400 };
enum { ORDER_MAGIC, ORDER_SYMBOL };
enum { POSITION_MAGIC, POSITION_SL, POSITION_SYMBOL, POSITION_TIME_MSC, POSITION_TYPE, POSITION_VOLUME };
enum { POSITION_TYPE_BUY, POSITION_TYPE_SELL };
enum { SERIES_SYNCHRONIZED, SERIES_LASTBAR_DATE };
enum { SYMBOL_CURRENCY_PROFIT, SYMBOL_DIGITS, SYMBOL_EXIST, SYMBOL_FILLING_MODE, SYMBOL_POINT, SYMBOL_TIME, SYMBOL_TRADE_CONTRACT_SIZE, SYMBOL_TRADE_EXEMODE, SYMBOL_TRADE_FREEZE_LEVEL, SYMBOL_TRADE_MODE, SYMBOL_TRADE_STOPS_LEVEL, SYMBOL_TRADE_TICK_SIZE, SYMBOL_TRADE_TICK_VALUE, SYMBOL_VOLUME_LIMIT, SYMBOL_VOLUME_MAX, SYMBOL_VOLUME_MIN, SYMBOL_VOLUME_STEP };
enum { SYMBOL_FILLING_FOK = 1, SYMBOL_FILLING_IOC = 2 };
enum { SYMBOL_TRADE_EXECUTION_REQUEST, SYMBOL_TRADE_EXECUTION_INSTANT, SYMBOL_TRADE_EXECUTION_MARKET };
enum { SYMBOL_TRADE_MODE_DISABLED, SYMBOL_TRADE_MODE_LONGONLY, SYMBOL_TRADE_MODE_SHORTONLY, SYMBOL_TRADE_MODE_CLOSEONLY, SYMBOL_TRADE_MODE_FULL };
enum { TRADE_RETCODE_REQUOTE = 10004, TRADE_RETCODE_PLACED = 10008, TRADE_RETCODE_DONE = 10009, TRADE_RETCODE_DONE_PARTIAL = 10010, TRADE_RETCODE_TIMEOUT = 10012, TRADE_RETCODE_PRICE_CHANGED = 10020, TRADE_RETCODE_PRICE_OFF = 10021, TRADE_RETCODE_TOO_MANY_REQUESTS = 10024, TRADE_RETCODE_INVALID_FILL = 10030, TRADE_RETCODE_CONNECTION = 10031 };

struct MqlRates { datetime time; double open, high, low, close; long tick_volume; int spread; long real_volume; };
struct MqlTick { datetime time; double bid, ask; };
struct MqlDateTime { int year, mon, day, hour, min, sec, day_of_week, day_of_year; };
struct MqlTradeRequest {
   ENUM_TRADE_REQUEST_ACTIONS action; ulong magic; ulong order; string symbol; double volume, price, sl, tp;
   ulong deviation; ENUM_ORDER_TYPE type; ENUM_ORDER_TYPE_FILLING type_filling; string comment; ulong position;
};
struct MqlTradeCheckResult { uint retcode; string comment; };
enum ENUM_TRADE_TRANSACTION_TYPE { TRADE_TRANSACTION_ORDER_ADD, TRADE_TRANSACTION_DEAL_ADD };
struct MqlTradeTransaction { ENUM_TRADE_TRANSACTION_TYPE type; };
struct MqlTradeResult { uint retcode; ulong deal, order; double volume, price; string comment; };

// The terminal
struct Symbol { double point, contract, min, step, max, tick_value; long digits, filling, mode; string currency; MqlTick quote; std::vector<MqlRates> rates; bool open; };
struct Position { ulong ticket; string symbol; long magic, opened; double lots, price, stop; };
struct Deal { ulong ticket, order; string symbol; long magic, position, time, type; double lots, price, profit; };
struct File { string name; size_t at; };

struct Terminal {
   long now = 0, login = 1, mode = ACCOUNT_TRADE_MODE_DEMO, margin = ACCOUNT_MARGIN_MODE_RETAIL_NETTING;
   double equity = 100000.0;
   bool connected = true;
   long held = 0;                 // open of the last bar that is shown; 0: all are
   std::map<string, Symbol> symbols;
   std::vector<Position> positions;
   std::vector<Deal> deals;
   std::deque<uint> answers;      // of the next orders; empty: done
   std::deque<uint> checks;       // of the next checks; empty: fine
   std::map<string, string> files;
   std::map<int, File> open;
   std::map<string, double> globals;
   string log;
   ulong next = 1;
   int selected = -1, handles = 0, sent = 0, checked = 0;
   MqlTradeRequest last;
   void (*policy)(const float *, float *) = nullptr;
};
Terminal T;

template <class... A> void Print(const A &...parts) { ((T.log += string(argument(parts)) + " "), ...); T.log += "\n"; }
template <class... A> void PrintFormat(const string &format, const A &...values) { T.log += StringFormat(format, values...) + "\n"; }
inline void Alert(const string &text) { T.log += "ALERT " + text + "\n"; }
inline int GetLastError() { return 0; }
inline void ResetLastError() {}
inline void Sleep(int) {}
inline bool EventSetTimer(int) { return true; }
inline void EventKillTimer() {}
inline long ChartID() { return 42; }
inline datetime TimeTradeServer() { return T.now; }
inline int PeriodSeconds(ENUM_TIMEFRAMES frame) { return (int)frame; }
inline void TimeToStruct(datetime when, MqlDateTime &parts) {
   parts = MqlDateTime();
   parts.day_of_week = (int)((when / 86400 + 4) % 7);
}
inline string TimeToString(datetime when, int) {
   std::time_t seconds = (std::time_t)when;
   char text[32];
   std::strftime(text, sizeof text, "%Y.%m.%d %H:%M", std::gmtime(&seconds));
   return text;
}
inline long TerminalInfoInteger(int what) { return what == TERMINAL_CONNECTED ? T.connected : 1; }
inline long MQLInfoInteger(int what) { return what == MQL_TESTER ? 0 : 1; }
inline double AccountInfoDouble(int) { return T.equity; }
inline string AccountInfoString(int) { return "USD"; }
inline long AccountInfoInteger(int what) {
   if(what == ACCOUNT_TRADE_MODE) return T.mode;
   if(what == ACCOUNT_LOGIN) return T.login;
   return what == ACCOUNT_MARGIN_MODE ? T.margin : 1;
}

// Symbols
inline bool SymbolSelect(const string &name, bool) { return T.symbols.count(name) > 0; }
inline string SymbolInfoString(const string &name, int) { return T.symbols[name].currency; }
inline double SymbolInfoDouble(const string &name, int what) {
   const Symbol &s = T.symbols[name];
   switch(what) {
      case SYMBOL_POINT: case SYMBOL_TRADE_TICK_SIZE: return s.point;
      case SYMBOL_TRADE_CONTRACT_SIZE: return s.contract;
      case SYMBOL_VOLUME_MIN: return s.min;
      case SYMBOL_VOLUME_STEP: return s.step;
      case SYMBOL_VOLUME_MAX: return s.max;
      case SYMBOL_TRADE_TICK_VALUE: return s.tick_value;
   }
   return 0.0;
}
inline long SymbolInfoInteger(const string &name, int what) {
   if(what == SYMBOL_EXIST) return T.symbols.count(name);
   const Symbol &s = T.symbols[name];
   switch(what) {
      case SYMBOL_DIGITS: return s.digits;
      case SYMBOL_TIME: return s.quote.time;
      case SYMBOL_FILLING_MODE: return s.filling;
      case SYMBOL_TRADE_MODE: return s.mode;
      case SYMBOL_TRADE_EXEMODE: return SYMBOL_TRADE_EXECUTION_MARKET;
   }
   return 0;
}
inline bool SymbolInfoTick(const string &name, MqlTick &quote) { quote = T.symbols[name].quote; return quote.bid > 0.0; }
inline bool SymbolInfoSessionTrade(const string &name, ENUM_DAY_OF_WEEK, uint session, datetime &from, datetime &to) {
   from = 0;
   to = 86400;
   return session == 0 && T.symbols[name].open;
}
inline long SeriesInfoInteger(const string &name, ENUM_TIMEFRAMES, int what) {
   const std::vector<MqlRates> &rates = T.symbols[name].rates;
   if(what == SERIES_SYNCHRONIZED) return 1;
   return T.held ? T.held : rates.empty() ? 0 : (long)rates.back().time;
}
inline datetime iTime(const string &name, ENUM_TIMEFRAMES, int) { return T.symbols[name].rates.empty() ? 0 : 1; }
inline int CopyRates(const string &name, ENUM_TIMEFRAMES frame, datetime from, datetime to, std::vector<MqlRates> &rates) {
   rates.clear();
   for(const MqlRates &bar : T.symbols[name].rates)
      if(bar.time >= from && bar.time <= to && bar.time <= T.now && (!T.held || bar.time <= T.held)) {
         rates.push_back(bar);
         if(bar.time + frame > T.now)
            rates.back().close *= 1.5;   // unfinished: whoever reads it is found out
      }
   return rates.empty() ? -1 : (int)rates.size();
}

// Files
inline bool FolderCreate(const string &) { return true; }
inline bool FileIsExist(const string &name) { return T.files.count(name) > 0; }
inline int FileOpen(const string &name, int flags) {
   if(!(flags & FILE_WRITE) && !FileIsExist(name)) return INVALID_HANDLE;
   if((flags & FILE_WRITE) && !(flags & FILE_READ)) T.files[name] = "";
   T.files[name];
   T.open[++T.handles] = File{name, 0};
   return T.handles;
}
inline void FileClose(int file) { T.open.erase(file); }
inline void FileFlush(int) {}
inline ulong FileSize(int file) { return T.files[T.open[file].name].size(); }
inline bool FileSeek(int file, long, int) { T.open[file].at = FileSize(file); return true; }
inline uint put(int file, const void *bytes, size_t count) {
   string &text = T.files[T.open[file].name];
   text.resize(std::max(text.size(), T.open[file].at + count));
   std::memcpy(&text[T.open[file].at], bytes, count);
   T.open[file].at += count;
   return (uint)count;
}
inline uint FileWriteString(int file, const string &text) { return put(file, text.data(), text.size()); }
inline uint FileWriteLong(int file, long value) { return put(file, &value, 8); }
inline uint FileWriteArray(int file, const std::vector<uchar> &bytes) { return put(file, bytes.data(), bytes.size()); }
inline uint FileReadArray(int file, std::vector<uchar> &bytes, int, int count) {
   const string &text = T.files[T.open[file].name];
   size_t size = std::min((size_t)count, text.size());
   bytes.assign(text.begin(), text.begin() + size);
   T.open[file].at = size;
   return (uint)size;
}
inline long FileReadLong(int file) {
   long value = 0;
   const string &text = T.files[T.open[file].name];
   if(T.open[file].at + 8 <= text.size()) std::memcpy(&value, &text[T.open[file].at], 8);
   return value;
}
inline bool FileMove(const string &from, int, const string &to, int) { T.files[to] = T.files[from]; T.files.erase(from); return true; }
template <class V> bool StructToCharArray(const V &value, std::vector<uchar> &bytes) {
   static_assert(std::is_trivially_copyable<V>::value, "MQL5 writes structs without strings and dynamic arrays only");
   const uchar *from = (const uchar *)&value;
   bytes.assign(from, from + sizeof value);
   return true;
}
template <class V> bool CharArrayToStruct(V &value, const std::vector<uchar> &bytes) {
   if(bytes.size() != sizeof value) return false;
   std::memcpy((void *)&value, bytes.data(), sizeof value);
   return true;
}
inline bool GlobalVariableCheck(const string &name) { return T.globals.count(name) > 0; }
inline double GlobalVariableGet(const string &name) { return T.globals[name]; }
inline datetime GlobalVariableSet(const string &name, double value) { T.globals[name] = value; return 1; }
inline bool GlobalVariableTemp(const string &name) { return T.globals.emplace(name, 0.0).second; }
inline bool GlobalVariableDel(const string &name) { return T.globals.erase(name) > 0; }

// The model
inline long OnnxCreateFromBuffer(const uchar *, uint) { return 7; }
inline long OnnxGetInputCount(long) { return 1; }
inline long OnnxGetOutputCount(long) { return 1; }
inline bool OnnxSetInputShape(long, long, const long *) { return true; }
inline bool OnnxSetOutputShape(long, long, const long *) { return true; }
inline bool OnnxRun(long handle, uint, const float *in, float *out) { if(handle != 7 || !T.policy) return false; T.policy(in, out); return true; }
inline bool OnnxRelease(long) { return true; }

// Trading
inline int PositionsTotal() { return (int)T.positions.size(); }
inline ulong PositionGetTicket(int index) { T.selected = index; return T.positions[index].ticket; }
inline bool PositionSelectByTicket(ulong ticket) {
   for(T.selected = 0; T.selected < PositionsTotal(); T.selected++)
      if(T.positions[T.selected].ticket == ticket) return true;
   return false;
}
inline bool PositionSelect(const string &symbol) {
   for(T.selected = 0; T.selected < PositionsTotal(); T.selected++)
      if(T.positions[T.selected].symbol == symbol) return true;
   return false;
}
inline string PositionGetString(int) { return T.positions[T.selected].symbol; }
inline double PositionGetDouble(int what) { const Position &p = T.positions[T.selected]; return what == POSITION_SL ? p.stop : std::fabs(p.lots); }
inline long PositionGetInteger(int what) {
   const Position &p = T.positions[T.selected];
   if(what == POSITION_MAGIC) return p.magic;
   return what == POSITION_TYPE ? (long)(p.lots > 0.0 ? POSITION_TYPE_BUY : POSITION_TYPE_SELL) : p.opened;
}
inline int OrdersTotal() { return 0; }
inline ulong OrderGetTicket(int) { return 0; }
inline string OrderGetString(int) { return ""; }
inline long OrderGetInteger(int) { return 0; }
inline bool HistorySelect(datetime, datetime) { return true; }
inline int HistoryDealsTotal() { return (int)T.deals.size(); }
inline ulong HistoryDealGetTicket(int index) { return T.deals[index].ticket; }
inline const Deal &deal_of(ulong ticket) { for(const Deal &d : T.deals) if(d.ticket == ticket) return d; return T.deals.front(); }
inline string HistoryDealGetString(ulong ticket, int) { return deal_of(ticket).symbol; }
inline double HistoryDealGetDouble(ulong ticket, int what) {
   const Deal &d = deal_of(ticket);
   if(what == DEAL_VOLUME) return std::fabs(d.lots);
   if(what == DEAL_PRICE) return d.price;
   return what == DEAL_PROFIT ? d.profit : what == DEAL_COMMISSION ? -std::fabs(d.lots) : 0.0;
}
inline long HistoryDealGetInteger(ulong ticket, int what) {
   const Deal &d = deal_of(ticket);
   if(what == DEAL_MAGIC) return d.magic;
   if(what == DEAL_POSITION_ID) return d.position;
   return what == DEAL_ORDER ? (long)d.order : (long)(d.lots > 0.0 ? DEAL_TYPE_BUY : DEAL_TYPE_SELL);
}
inline double money(const Symbol &s) { return s.tick_value / s.point; }
inline void execute(const MqlTradeRequest &r, ulong order, long magic) {
   const Symbol &s = T.symbols[r.symbol];
   double lots = r.type == ORDER_TYPE_BUY ? r.volume : -r.volume;
   double price = lots > 0.0 ? s.quote.ask : s.quote.bid;
   Position *held = nullptr;
   for(Position &p : T.positions)
      if(r.position ? p.ticket == r.position : (T.margin != ACCOUNT_MARGIN_MODE_RETAIL_HEDGING && p.symbol == r.symbol))
         held = &p;
   double profit = 0.0;
   ulong position = held ? held->ticket : T.next++;
   if(!held)
      T.positions.push_back(Position{position, r.symbol, magic, T.now, lots, price, r.sl});
   else {
      double closed = held->lots * lots < 0.0 ? std::min(std::fabs(lots), std::fabs(held->lots)) : 0.0;
      profit = (held->lots > 0.0 ? 1.0 : -1.0) * closed * (price - held->price) * money(s);
      double after = held->lots + lots;
      if(closed == 0.0) held->price = (held->price * held->lots + price * lots) / after;
      if(after * held->lots < 0.0) held->price = price;
      held->lots = std::fabs(after) < 1e-9 ? 0.0 : after;
   }
   T.positions.erase(std::remove_if(T.positions.begin(), T.positions.end(), [](const Position &p) { return p.lots == 0.0; }), T.positions.end());
   T.deals.push_back(Deal{T.next++, order, r.symbol, magic, (long)position, T.now, 0, lots, price, profit});
}
inline bool OrderCheck(MqlTradeRequest &request, MqlTradeCheckResult &result) {
   T.checked++;
   result.retcode = 0;
   if(!T.checks.empty()) { result.retcode = T.checks.front(); T.checks.pop_front(); }
   long mask = T.symbols[request.symbol].filling;
   if(result.retcode == 0 && request.type_filling == ORDER_FILLING_IOC && !(mask & SYMBOL_FILLING_IOC)) result.retcode = TRADE_RETCODE_INVALID_FILL;
   double steps = request.volume / T.symbols[request.symbol].step;
   if(std::fabs(steps - std::round(steps)) > 1e-6 || request.volume <= 0.0) result.retcode = 10014;
   return result.retcode == 0;
}
inline bool OrderSend(MqlTradeRequest &request, MqlTradeResult &result) {
   T.sent++;
   T.last = request;
   uint answer = TRADE_RETCODE_DONE;
   if(!T.answers.empty()) { answer = T.answers.front(); T.answers.pop_front(); }
   result.retcode = answer;
   result.order = T.next++;
   if(answer == TRADE_RETCODE_DONE || answer == TRADE_RETCODE_TIMEOUT)
      execute(request, result.order, (long)request.magic);
   return answer == TRADE_RETCODE_DONE;
}
uchar DecisionModel[1];
long ServerAhead = 0;     // seconds of the server's clock ahead of UTC
inline datetime TimeGMT() { return T.now - ServerAhead; }
