// Compiled, never run: what the classes of this thread and those of a worker both have is what the
// interface shows. That they have all of it, the compiler sees where index.js gives them out.
import type { Engine as LocalEngine } from '../../glue/model/engine.js';
import type { Engine, Model, Session } from '../../glue/model/interface.js';
import type { Model as LocalModel } from '../../glue/model/model.js';
import type { RemoteEngine, RemoteModel, RemoteSession } from '../../glue/model/remote.js';
import type { Session as LocalSession } from '../../glue/model/session.js';

/** A compiler's error names the member that is not `never`. */
type None<Member extends never> = Member;
type Hidden<Local, Remote, Shown> = Exclude<keyof Local & keyof Remote, keyof Shown>;

export type NotInEngine = None<Hidden<LocalEngine, RemoteEngine, Engine>>;
export type NotInModel = None<Hidden<LocalModel, RemoteModel, Model>>;
export type NotInSession = None<Hidden<LocalSession, RemoteSession, Session>>;
